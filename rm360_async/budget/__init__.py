"""Leases of bytes (and inodes) on a file system; FIFO; shared between instances.

Theory of operation. Before a download starts, its performance takes a lease for everything it is going to
put on disk: staged bytes in temp_dir, and output bytes and files in output_dir. A lease is granted when

- the staging leases of all instances on this temp_dir, with what lies there without a lease (parts, kept
  files, by their allocated blocks), stay within `max_temp_bytes`;
- on each of the two file systems (counted once when they are one), free bytes less what is leased and not
  yet written stay at or above `min_free_bytes`; and likewise inodes.

So neither limit can be passed by our doing, even when all leases are used to the full. What a lease has
written already is seen in the free bytes, so it is counted as allocated blocks of its staged paths and as
what `Lease.wrote` told, never twice. A lease whose staged bytes are all there already adds nothing to
temp_dir; it passes the first rule even when the user has lowered the limit since, else a run could not
finish what it has.

Order is first come, first served over all instances: each ticket has a number, and nobody overtakes one who
waits for something he would use too. So a large lease waits for small ones that came before it, never for
those after it, and none starves. One exception keeps parts from blocking each other for ever: when no lease
is out and parts alone fill the budget, the owner of such a part may go first (the last lease that was out
fitted beside all other parts, and those have not grown since, so there always is such an owner).

Strangers write to the same disks, and a guess of the output may be too low. So before it extracts, or goes on
after a full disk, a lease waits until the rest of what it was promised fits again (`Budget.room`), the oldest
first. What lies in temp_dir and belongs to no live lease may be given up when nothing else makes room
(`make_room`), under the guard, so that nobody gets a lease for it at that moment. One file is never leased to
two: instances with ledgers of their own may want the same.

Tickets are files whose locks the kernel drops (see `tickets`): a killed instance gives everything back at
that moment. A stopped one (SIGSTOP) keeps its place and its leases.

`arithmetic` decides without I/O, `disk` asks the system, `tickets` is the shared queue, `leases` waits.
"""

from __future__ import annotations

from rm360_async.budget.budget import POLL_SECONDS, Budget, Lease
from rm360_async.budget.disk import Disk, Space, SystemDisk
from rm360_async.budget.policy import BudgetLimits, Lack, Shortage

__all__ = ["POLL_SECONDS", "Budget", "BudgetLimits", "Disk", "Lack", "Lease", "Shortage", "Space", "SystemDisk"]
