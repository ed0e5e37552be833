# Sourced by other scripts. find_python VERSION prints the path of a Python of that version, e.g. 3.13: one on PATH, of
# pyenv or of uv. It fails where there is none.
find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/python \
        "${HOME:-}/.local/share/uv/python/cpython-$1".*/bin/python; do
        # a shim of pyenv is there for versions that are not selected, too, and fails
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}
