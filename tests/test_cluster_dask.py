"""What is set of Dask, and the streams between a coordinator and a node, in this process."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import dask.config
import pytest
from test_cluster_config import settings_of

from rm360_async.cluster.dask_coordinator import CoordinatorLink, opened_link
from rm360_async.cluster.dask_node import connected, reachable
from rm360_async.cluster.dask_settings import configure_dask
from rm360_async.cluster.keys import make_keys, new_keys
from rm360_async.cluster.scheduler_file import CoordinatorAddress, read_scheduler_file
from rm360_async.cluster.values import Values
from rm360_async.config.settings import Cluster
from rm360_async.domain.errors import Fault

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    """Leave Dask's configuration as it was."""
    yield
    dask.config.refresh()


class Events:
    """What a coordinator is told, and its answer: each node that connects is greeted."""

    def __init__(self) -> None:
        self.link: CoordinatorLink | None = None
        self.taken: list[Values] = []

    def added(self, address: str) -> None:
        assert self.link is not None
        self.link.send(address, {"kind": "welcome"})

    def removed(self, address: str) -> None:
        pass

    def received(self, address: str, message: Values) -> None:
        self.taken.append(message)

    def drain(self, name: str) -> str:
        return f"error: no node is called {name}"


def cluster_of(folder: Path, listen: str) -> Cluster:
    if not (folder / "keys").exists():
        make_keys(folder / "keys")
    text = f'cluster: {{scheduler_file: c.json, listen: "{listen}", tls: keys}}\n'
    return settings_of(folder, text).cluster


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as each:
            each.bind(("::1", 0))
    except OSError:
        return False
    return True


async def exchange(cluster: Cluster) -> tuple[str, ...]:
    """Have a node greeted and answer; return the addresses at which the run can be reached."""
    events = Events()
    with anyio.fail_after(30):
        async with opened_link(cluster, events) as link:
            events.link = link
            written = read_scheduler_file(cluster.scheduler_file or Path())
            assert written is not None
            found = await reachable(written)
            assert found is not None
            async with connected(found) as node:
                assert await node.messages.receive() == {"kind": "welcome"}
                node.send({"kind": "join"})
                while not events.taken:
                    await anyio.sleep(0.01)
            return written.addresses
    raise AssertionError


@pytest.mark.parametrize("listen", ["tls://127.0.0.1:0", "tls://0.0.0.0:0", "tls://[::1]:0", "tls://[::]:0"])
async def test_a_node_finds_a_run_wherever_it_listens(tmp_path: Path, listen: str) -> None:
    if "[" in listen and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    addresses = await exchange(cluster_of(tmp_path, listen))
    assert all(each.startswith("tls://[") == ("[" in listen) for each in addresses)


@pytest.mark.filterwarnings("ignore:unclosed <socket")  # Tornado's, of the port that it does not get
async def test_a_port_that_is_busy_is_said_in_a_sentence(tmp_path: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"tls://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Fault, match=f"cannot listen on {listen}: Address already in use; another run may"):
            async with opened_link(cluster_of(tmp_path, listen), Events()):
                pytest.fail("it listens")
    gc.collect()


async def test_an_address_that_is_none_does_not_answer() -> None:
    assert await reachable(CoordinatorAddress(("tls://::1:8786", "tls://nonsense"), None, new_keys())) is None


async def test_nothing_of_the_configuration_of_the_user_is_used(tmp_path: Path) -> None:
    """Dask's scheduler ends by itself with this one, a worker after a second, and both load a module first."""
    ends: dict[str, Any] = {"worker": {"lifetime": {"duration": "1s"}, "preload": ["no.such"]}}
    ends["scheduler"] = {"idle-timeout": "1s", "preload": ["no.such"], "contact-address": "tls://10.0.0.5:1"}
    dask.config.set({"distributed": {**dask.config.get("distributed"), **ends}})
    configure_dask()
    assert dask.config.get("distributed.scheduler.idle-timeout") is None
    await exchange(cluster_of(tmp_path, "tls://127.0.0.1:0"))


async def test_a_scheduler_that_ends_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="has ended in the middle of the run"), anyio.fail_after(20):
        async with opened_link(cluster_of(tmp_path, "tls://127.0.0.1:0"), Events()) as link:
            await link._scheduler.close(reason="idle-timeout-exceeded")
            await anyio.sleep_forever()
    assert not (tmp_path / "c.json").exists()
