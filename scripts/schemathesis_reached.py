"""Which operations of the description (standard input) never succeeded, by a server's log (argument)."""

import json
import re
import sys

document = json.load(sys.stdin)
described = {
    f"{method.upper()} {path}"
    for path, methods in document["paths"].items()
    for method in methods
    # Nobody is an operator here, and streams, which do not end by themselves, are not asked for.
    if not path.startswith(("/admin/", "/metrics")) and not path.endswith("/events")
}
line = re.compile(r'method=(\S+) route="([^"]*)" status=2\d\d ')
with open(sys.argv[1], encoding="utf-8") as log:
    reached = {" ".join(found.groups()) for found in map(line.search, log) if found}
missed = sorted(described - reached)
if missed:
    sys.exit(f"never answered with 2xx: {', '.join(missed)}")
print(f"each of {len(described)} operations was answered with 2xx")
