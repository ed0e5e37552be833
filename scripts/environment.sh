# Sourced by the other scripts: makes .venv beside the checkout's files if there is none, and keeps it current.
# PYTHON names another interpreter (3.10 or newer). Leaves $root, the checkout, and $python, the environment's
# interpreter; the working folder stays the caller's, whose relative paths are arguments.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
base=${PYTHON:-python3}
python="$root/.venv/bin/python"
stamp="$root/.venv/installed-for"

if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: '$base' is not Python 3.10 or newer; set PYTHON=/path/to/python3" >&2
    exit 2
fi
wanted="$("$base" -V) $root $(cksum < "$root/pyproject.toml")"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setting up .venv (once; takes a minute) ..." >&2
    if [ "$("$python" -V 2>/dev/null)" != "$("$base" -V)" ] && ! "$base" -m venv --clear "$root/.venv"; then
        echo "error: cannot make a virtual environment with '$base' (Debian and Ubuntu: apt install python3-venv)" >&2
        exit 2
    fi
    "$python" -m pip install --quiet --disable-pip-version-check -e "$root[dev]" >&2
    printf '%s' "$wanted" > "$stamp"
fi
