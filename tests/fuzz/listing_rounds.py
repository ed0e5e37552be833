"""Rounds with answers of `rclone lsjson`: parsed, grouped by performance, and stored in a real ledger."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import anyio
from fault_injection.result import Case, SuiteResult

from fuzz.outputs import message_problems
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Structure, remote_path
from rm360_async.download.rclone.listing import RemoteListing, group_by_performance, parse_listing
from rm360_async.ledger import Ledger

_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 2**64, -(2**70), 1.5, 1e300, float("nan"), float("inf"), "", "12", "x", [], {}, [1]),
    *({"md5": 5}, {"md5": "\ud800"}, {"md5": "x" * 5000}, "\ud800", "\0", "../../etc", "a\nb", "x" * 100_000),
)
_PATHS = (
    *("0018/0018_s1_all_raw.smc", "0018/0018_e0_raw.smc", "raw/0026/0026_e1_raw.smc", "anno/0026/0026_e1_anno.smc"),
    *(
        "0018/../0018/0018_e0_raw.smc",
        "/0018/0018_e0_raw.smc",
        "0018/0018_e0_raw.smc/",
        "0019/0018_e0_raw.smc",
        "..",
        "",
    ),
    *(
        "0018/0018_e0_raw.smc.bak",
        "0018/0018_e0_raw (1).smc",
        "\uff10018/0018_e0_raw.smc",
        "0018/0018_e0_raw.smc\n",
        "-x",
    ),
    *("0018/0018_h1_7bk_raw.smc", "0018/0018_s1_raw.smc", "0018/notes.txt", "0018//0018_e0_raw.smc", "\x1b[31m.smc"),
)


def run_round(case: Case, folder: Path) -> SuiteResult:
    """Parse one answer: the result is a listing that is safe to use, or Fault(UNKNOWN) in one line."""
    random = case.random
    answer = _answer(random)
    path = folder / "lsjson.json"
    path.write_bytes(answer)
    structure = random.choice(list(Structure))
    try:
        listing = group_by_performance(parse_listing(answer, "listing lab:").files, structure)
    except Fault as fault:
        violations = message_problems(str(fault), "the message")
        return SuiteResult(
            case, fault.cause.code, violations if fault.cause is Cause.UNKNOWN else [*violations, str(fault)], [path]
        )
    except Exception as error:  # noqa: BLE001 (any exception is a violation)
        return SuiteResult(case, "crashed", [repr(error)[:500]], [path])
    violations = [*_unsafe_entries(listing, structure), *_lost_entries(answer, listing)]
    try:
        anyio.run(_store_in_ledger, folder / "listing.sqlite", listing)
    except Exception as error:  # noqa: BLE001 (any exception is a violation)
        violations.append(f"the ledger cannot take it: {error!r}"[:500])
    finally:
        for left in folder.glob("listing.*"):
            left.unlink()
    return SuiteResult(case, "listed" if listing.files else "nothing listed", violations[:5], [path])


def _unsafe_entries(listing: RemoteListing, structure: Structure) -> list[str]:
    violations = []
    for performance, kinds in listing.files.items():
        for kind, file in kinds.items():
            if file.path != remote_path(structure, performance, Kind(kind)):
                violations.append(f"{file.path!r} is not the path of {performance} {kind}")
            if not 0 <= file.size < 2**63:
                violations.append(f"{file.path} is listed with {file.size} bytes")
            for name, value in (("md5", file.md5), ("modified", file.modified), ("id", file.id)):
                if value is not None and (not isinstance(value, str) or not value.isprintable() or len(value) > 500):
                    violations.append(f"{file.path} is listed with {name} {str(value)[:50]!r}")
    return violations


def _lost_entries(answer: bytes, listing: RemoteListing) -> list[str]:
    """Return the paths of the answer that are not in the listing, and duplicates that are not marked."""
    paths = [str(entry["Path"]) for entry in json.loads(answer) if entry.get("IsDir") is not True]
    listed = {file.path: file for kinds in listing.files.values() for file in kinds.values()}
    unrecognized = set(listing.unrecognized)
    violations = [f"{path!r} is lost" for path in paths if path not in listed and path not in unrecognized]
    twice = {path for path in listed if paths.count(path) > 1} if len(paths) < 1000 else set()
    return violations + [f"{path} was listed twice and is not marked" for path in twice if not listed[path].duplicate]


async def _store_in_ledger(path: Path, listing: RemoteListing) -> None:
    sources = {each: [file.source() for file in kinds.values()] for each, kinds in listing.files.items()}
    async with Ledger.open(path) as ledger:
        await ledger.add(sources)
        await ledger.record_listing(sources)
        for row in await ledger.rows():
            assert list(row.sources) == sources[row.performance], "the ledger changed what was listed"


def _answer(random: Random) -> bytes:
    entries = [_entry(random) for _ in range(random.choice((0, 1, 3, 20)))]
    if random.random() < 0.02:
        entry = {"Size": 1, "ModTime": "2022-08-20T00:00:00Z", "ID": "a1", "Hashes": {"md5": _MD5}}
        entries = [{**entry, "Path": f"{n % 9999:04d}/{n % 9999:04d}_e{n // 9999}_raw.smc"} for n in range(100_000)]
    text = json.dumps(entries).encode()
    choice = random.random()
    if choice < 0.6:
        return text
    at = random.randrange(len(text))
    return random.choice(
        (
            text[:at],
            text[:at] + random.randbytes(3) + text[at:],
            b"[" * random.choice((100, 100_000)),
            b'{"a":' * 100_000,
            random.choice(
                (b"", b"null", b"5", b'"x"', b"{}", b"[[]]", b"[null]", b"[5]", b'["x"]', b'{"Path": 5}', b"NaN")
            ),
            text.replace(b"]", b",]"),
            b"\xff\xfe" + text,
            b'[{"Path": "a", "Size": ' + b"9" * 5000 + b"}]",
            b'[{"Path": "0018/0018_e0_raw.smc", "Size": Infinity}]',
            b"2026/01/01 NOTICE: something\n" + text,
        )
    )


def _entry(random: Random) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Path": random.choice(_PATHS[:4]) if random.random() < 0.6 else random.choice(_PATHS),
        "Name": "x", "Size": random.choice((0, 1, 2**40, 123)), "ModTime": "2022-08-20T00:00:00Z",
        "IsDir": False, "ID": "a1", "Hashes": {"md5": _MD5},
    }  # fmt: skip
    for key in random.sample(sorted(entry), random.choice((0, 0, 1, 2))):
        if random.random() < 0.2:
            del entry[key]
        else:
            entry[key] = random.choice(_ODD_VALUES)
    return entry
