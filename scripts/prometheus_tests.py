"""Asks a Prometheus that scrapes a running server for everything that docs/ops/ asks for.

Started by prometheus-tests.sh. Every expression of the dashboard must find data. An alert's expression
must be understood, and every metric that it names must be there: whether it fires is not its test.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("ONSALE_BINARY", os.path.join(ROOT, "target/debug/onsale"))
FOLDER = os.environ["TMPDIR"]
TOKEN = "the-operators-token-of-a-test"
WITHIN_SECONDS = 60
running = []


def start(command, log, **environment):
    with open(log, "w") as output:
        child = subprocess.Popen(
            command,
            cwd=FOLDER,
            env={"PATH": os.environ["PATH"], "TMPDIR": FOLDER, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running.append(child)
    return child


def stop_all():
    for child in reversed(running):
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def eventually(what, condition, seconds=WITHIN_SECONDS):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def read(path):
    with open(path) as file:
        return file.read()


def ask(url, body=None, method=None, **headers):
    """The status and the JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    if data:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


def a_sale(url):
    """Something of everything that is counted."""
    status, joined = ask(url + "/user/token", {"concertId": 1, "userId": 1})
    assert status == 201, joined
    token = {"Queue-Token": joined["token"]}
    poll = lambda: ask(url + "/user/token/status", **token)[1]["status"] == "active"
    eventually("the token is active", poll)
    _, dates = ask(url + "/concert/available-dates", **token)
    hold = {"userId": 1, "concertId": 1, "concertDate": dates["availableDates"][0], "seatNumber": 1}
    assert ask(url + "/concert/reserve", hold, **token)[0] == 201
    assert ask(url + "/payment/charge", {"userId": 1, "amount": 1_000_000}, **token)[0] == 200
    assert ask(url + "/payment", {"userId": 1}, **token)[0] == 200
    assert ask(url + "/payment/balance")[0] == 400


def dashboard():
    """Every expression of the dashboard, with the values of its variables."""
    with open(os.path.join(ROOT, "docs/ops/grafana-dashboard.json")) as file:
        panels = json.load(file)["panels"]
    for panel in panels:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "10s")
            yield panel["title"], expression.replace("$concert", ".*")


def main():
    onsale_log = os.path.join(FOLDER, "onsale.log")
    data = os.path.join(FOLDER, "data")
    start(
        [BINARY, "dev", "--data", data, "--listen", "127.0.0.1:0"],
        onsale_log,
        ONSALE_ADMIN_TOKEN=TOKEN,
    )
    serves = lambda: re.search(r"serves on http://(\S+)", read(onsale_log))
    address = eventually("the server serves", serves, 90).group(1)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = os.path.join(FOLDER, "prometheus.yml")
    with open(config, "w") as file:
        rules = os.path.join(ROOT, "docs/ops/alerts.yml")
        file.write(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{rules}']\n"
            "scrape_configs:\n"
            "  - job_name: onsale\n"
            f"    authorization: {{credentials: {TOKEN}}}\n"
            f"    static_configs: [{{targets: ['{address}']}}]\n"
        )
    start(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={os.path.join(FOLDER, 'tsdb')}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        os.path.join(FOLDER, "prometheus.log"),
    )
    prometheus = f"http://127.0.0.1:{port}/api/v1"

    def query(expression):
        url = f"{prometheus}/query?" + urllib.parse.urlencode({"query": expression})
        try:
            status, answer = ask(url)
        except (urllib.error.URLError, ConnectionError):
            return []
        # It is still starting.
        if status == 503:
            return []
        if status != 200:
            sys.exit(f"{expression}: {answer}")
        return answer["data"]["result"]

    eventually("the server is scraped", lambda: query("onsale_build_info"))
    a_sale(f"http://{address}")

    asked = list(dashboard())
    assert len(asked) >= 30, f"{len(asked)} expressions in the dashboard"
    for title, expression in asked:
        eventually(f"data for {title!r}: {expression}", lambda: query(expression))

    _, loaded = ask(f"{prometheus}/rules")
    rules = [rule for group in loaded["data"]["groups"] for rule in group["rules"]]
    assert len(rules) >= 15, rules
    for rule in rules:
        healthy = lambda: all(
            rule["health"] == "ok"
            for group in ask(f"{prometheus}/rules")[1]["data"]["groups"]
            for rule in group["rules"]
        )
        eventually(f"{rule['name']} is evaluated", healthy)
        for metric in set(re.findall(r"\b(?:onsale_\w+|up)\b", rule["query"])):
            if not query(f"count({metric})"):
                sys.exit(f"{rule['name']}: there is no {metric}")
    sold = lambda: query('max(onsale_sold_seats{concert="1"}) == 1')
    eventually("the seat that was bought is told", sold)
    print(f"{len(asked)} expressions found data, {len(rules)} alerts are understood")


try:
    main()
finally:
    stop_all()
