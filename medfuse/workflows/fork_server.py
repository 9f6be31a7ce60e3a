"""What a fork server imports before all else.

It ends when the process that started it does: it looks for that itself, but not while it imports,
and what reads its output would wait for it. Python's collector is called seldom, in it and in what
is forked from it (`medfuse.memory.collect_seldom`).
"""

from medfuse.memory import collect_seldom
from medfuse.workflows.forks import end_with_parent

end_with_parent()
collect_seldom()
