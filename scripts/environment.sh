# Sourced by the other scripts: makes the virtual environment .venv in the checkout if there is none, and keeps it
# current. It holds exactly what constraints.txt pins.
# PYTHON names another interpreter (3.10 or newer), VENV another folder for the environment.
# Leaves $root, the checkout, and $python, the environment's interpreter. The working folder stays the caller's, because
# relative paths among the arguments refer to it.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
base=${PYTHON:-python3}
venv=${VENV:-$root/.venv}
python="$venv/bin/python"
stamp="$venv/installed-for"
constraints="$root/scripts/constraints.txt"

install_pinned() {
    "$python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" "$@" >&2
}

if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: '$base' is not Python 3.10 or newer; set PYTHON=/path/to/python3" >&2
    exit 2
fi
wanted="$("$base" -V) $root $(cat "$root/pyproject.toml" "$constraints" | cksum)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setting up ${venv#"$root/"} (once; takes a minute) ..." >&2
    if [ "$("$python" -V 2>/dev/null)" != "$("$base" -V)" ] && ! "$base" -m venv --clear "$venv"; then
        echo "error: cannot make a virtual environment with '$base' (Debian and Ubuntu: apt install python3-venv)" >&2
        exit 2
    fi
    install_pinned setuptools  # the build backend too: an isolated build would take the newest
    install_pinned --no-build-isolation --editable "$root[cluster,dev,judges]"
    printf '%s' "$wanted" > "$stamp"
fi
