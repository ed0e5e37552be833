# Sourced by the other scripts: makes .venv beside the checkout's files if there is none, and keeps it current.
# PYTHON names another interpreter (3.10 or newer). Leaves $python, the environment's interpreter.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
base=${PYTHON:-python3}
python="$root/.venv/bin/python"
stamp="$root/.venv/installed-for"

if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: '$base' is not Python 3.10 or newer; set PYTHON=/path/to/python3" >&2
    exit 2
fi
wanted="$("$base" -V) $root $(cksum < pyproject.toml)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setting up .venv (once; takes a minute) ..." >&2
    if [ "$("$python" -V 2>/dev/null)" != "$("$base" -V)" ] && ! "$base" -m venv --clear .venv; then
        echo "error: cannot make a virtual environment with '$base' (Debian and Ubuntu: apt install python3-venv)" >&2
        exit 2
    fi
    "$python" -m pip install --quiet --disable-pip-version-check -e '.[dev]' >&2
    printf '%s' "$wanted" > "$stamp"
fi
