"""What a fork server imports before all else: it ends when the process that started it does.

It looks for that itself, but not while it imports, and what reads its output would wait for it.
"""

from medfuse.workflows.forks import end_with_parent

end_with_parent()
