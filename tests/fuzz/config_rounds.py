"""Rounds with configs: random YAML structures, mutated texts, and random bytes."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import yaml
from fault_injection.result import Case, SuiteResult

from fuzz.outputs import output_of
from rm360_async.config import load_settings

_VALID_CONFIG: dict[str, dict[str, Any]] = {
    "google_drive": {
        "root_folder_id": "1aB-_",
        "remote_name": "lab",
        "structure": "single",
        "remote_names": ["a", "b"],
    },
    "extraction": {"subjects": ["0018"], "performances": ["s*"], "cameras": "ring:10", "modalities": ["images"]},
    "storage": {"temp_dir": "t", "output_dir": "o/subjects", "manifest_path": "o/MANIFEST.csv", "log_dir": "l"},
    "processing": {"max_retries": 3, "retry_delay": 30, "downloads": 2, "workers": 0, "damaged": "publish"},
    "limits": {"max_temp_size_gb": 100, "min_free_space_gb": 0.5},
    "logging": {"level": "INFO", "console_output": True, "max_file_size_mb": 100},
}
_ODD_SCALARS = (
    *("0026", "1e999", "-1", ".nan", ".inf", "0x" + "f" * 6000, "9" * 5000, "1:30:00", "2001-01-01", "~", "''", "on"),
    *("!!bool maybe", "!!int ''", "!!float ''", "!!int abc", "!!null x", "!!timestamp x", "!!binary x", "!!set {a}"),
    *("!!python/object/apply:os.system ['true']", "!x y", "&a [*a]", "*nowhere", "{a: 1, a: 2}", "? [a]", "<<: {a: 1}"),
    *('"\\uD800"', '"\\0"', '"\\e[31m"', "$HOME/x", "~nobody/x", "../../..", "/" + "x" * 5000, "/dev/null/x", "a\tb"),
    *(
        "0b" + "1" * 20_000,
        "1_000",
        "0o17",
        "-.inf",
        "[[[[[[[[[[[1]]]]]]]]]]]",
        "all",
        "ring:99",
        "ring:-1",
        "'--help'",
    ),
    *("0x" + "f" * 20, "9" * 18, "9" * 19, "-" + "9" * 400, "1" + "0" * 400 + ".5", "=", "!!str", "!!seq", "!!map x"),
    *('"\\x85"', '"\\u2028"', "'a: b: c'", "@x", "`x`", "%x", "| \n  a\n  b", ">-", "2022-13-99", "!!timestamp 99-99"),
)


def run_round(case: Case, folder: Path) -> SuiteResult:
    """Load one config as a command does: the result is settings, or exit code 2 with error lines."""
    random = case.random
    path = folder / "config.yaml"
    make = random.choice((_structure, _structure, _scalar, _scalar, _scalar, _text, _text, _bytes, _oversized))
    path.write_bytes(make(random))
    output = output_of(lambda: 0 if load_settings(path) else 1)
    ended = {0: "settings", 2: "refused"}.get(output.code, f"exit {output.code}")
    return SuiteResult(case, f"{make.__name__.strip('_')} {ended}", output.problems(0, 2), [path])


def _scalar(random: Random) -> bytes:
    """Put unusual scalars at one to three keys of a valid config."""
    lines = yaml.safe_dump(_VALID_CONFIG, default_flow_style=False).splitlines()
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(lines))
        head = lines[at].partition(":")[0] + ":" if ":" in lines[at] else lines[at].partition("-")[0] + "-"
        lines[at] = f"{head} {random.choice(_ODD_SCALARS)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _structure(random: Random) -> bytes:
    """Put random values at random keys."""
    value: dict[Any, Any] = {section: dict(keys) for section, keys in _VALID_CONFIG.items()}
    for _ in range(random.randint(1, 5)):
        section = random.choice([*value, "other", 5, None])
        if random.random() < 0.3 or not isinstance(value.get(section), dict):
            value[section] = _value(random, 0)
        else:
            value[section][random.choice([*value[section], "unknown", 7, True, None])] = _value(random, 0)
    return yaml.safe_dump(value, allow_unicode=random.random() < 0.5).encode()


def _value(random: Random, depth: int) -> Any:
    plain = (
        None,
        True,
        0,
        -1,
        10**30,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "all",
        "0018",
        "x" * 3000,
        "\x07",
        "é\u202e",
        b"\xff",
    )
    if depth > 3 or random.random() < 0.6:
        return random.choice(plain)
    if random.random() < 0.5:
        return [_value(random, depth + 1) for _ in range(random.randrange(5))]
    return {
        random.choice(("a", "remote_name", 5, "\n", "")): _value(random, depth + 1) for _ in range(random.randrange(4))
    }


def _text(random: Random) -> bytes:
    """Mutate the text of a valid config: remove, double or move pieces, insert characters."""
    text = yaml.safe_dump(_VALID_CONFIG)
    for _ in range(random.randint(1, 6)):
        at, end = sorted(random.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + 30)
        odd = random.choice("\t:-[]{}&*!|>'\"%@`#,?\n\r\0\x85\u2028\ufeff") * random.choice((1, 1, 3))
        text = text[:at] + random.choice((odd, text[at:end] * 2, "", odd + text[at:end])) + text[end:]
    return text.encode()


def _bytes(random: Random) -> bytes:
    """Return random bytes, other encodings, or nothing."""
    text = yaml.safe_dump(_VALID_CONFIG)
    choices = (random.randbytes(random.randrange(3000)), text.encode("utf-16"), text.encode("utf-32"), b"", b"\0" * 100)
    return random.choice(
        (*choices, b"\xef\xbb\xbf" + text.encode(), text.encode()[: random.randrange(len(text))] + b"\xff")
    )


def _oversized(random: Random) -> bytes:
    """Return a text that is too large: aliases that multiply, deep nesting, very many keys, very long lines."""
    size = random.choice((50, 1000, 5000))
    doubling = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, min(size, 200)))
    chain = "x: " + "[" * size + "]" * random.choice((0, size))
    keys = "".join(f"key{n}: 1\n" for n in range(size))
    same = "google_drive:\n" + "".join(f"  remote_name: r{n}\n" for n in range(size))
    blocks = "".join(" " * n + f"a{n}:\n" for n in range(min(size, 1000)))
    ids = "extraction: {subjects: [" + ", ".join(str(n) for n in range(size)) + "]}"
    return random.choice((doubling, chain, "{" * size, keys, same, blocks, ids, "- " * size, "x" * size * 50)).encode()
