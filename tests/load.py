"""How a server bears many at once, in ratios: python tests/load.py URL [CLIENTS] [SECONDS]."""

import json
import statistics
import sys
import threading
import time
import urllib.request

QUESTIONS = (
    "How many defectors went public?",
    "Who directs the ICSR?",
    "When was the Grauwen Dam completed?",
    "Which tug towed the ferry?",
    "Who audited the Averill bridge project?",
    "How much must Telvia pay as a fine?",
)


def load(url: str, clients: int, seconds: float) -> dict[str, float]:
    """Questions a second, errors, and how long one took, with so many asking without a pause."""
    until = time.monotonic() + seconds
    taken: list[float] = []
    errors: list[str] = []

    def client(n: int) -> None:
        while time.monotonic() < until:
            body = json.dumps({"question": QUESTIONS[n % len(QUESTIONS)]}).encode()
            request = urllib.request.Request(
                f"{url}/api/ask", body, {"content-type": "application/json"}
            )
            started = time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=300) as reply:
                    json.load(reply)
                taken.append(time.monotonic() - started)
            except OSError as error:
                errors.append(str(error))
            n += 1

    began = time.monotonic()
    threads = [threading.Thread(target=client, args=[n]) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "questions": len(taken),
        "a second": len(taken) / (time.monotonic() - began),
        "errors": len(errors),
        "p50": statistics.median(taken),
        "p95": statistics.quantiles(taken, n=20)[-1] if len(taken) > 1 else taken[0],
        "slowest": max(taken),
    }


def borne(url: str, clients: int, seconds: float) -> dict[str, float]:
    """How so many clients at once fare beside one, who asks before and after them.

    `throughput` is in one client's, `p95` in what each would wait if all took turns:
    clients times the median of one.
    """
    load(url, 1, 3)  # Warm.
    one = load(url, 1, seconds / 4)
    many = load(url, clients, seconds)
    again = load(url, 1, seconds / 4)  # The machine may have become slower or faster meanwhile.
    for name, figures in (("1", one), (str(clients), many), ("1 again", again)):
        print(f"{name:>8}  " + "  ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    return {
        "errors": one["errors"] + many["errors"] + again["errors"],
        "throughput": many["a second"] / ((one["a second"] + again["a second"]) / 2),
        "p95": many["p95"] / (clients * (one["p50"] + again["p50"]) / 2),
    }


def main() -> None:
    url = sys.argv[1].rstrip("/")
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 60.0
    figures = borne(url, clients, seconds)
    print(f"throughput {figures['throughput']:.2f} of one client's (at least 0.9)")
    print(f"p95 {figures['p95']:.2f} x {clients} x p50 of one client (at most 1.5)")


if __name__ == "__main__":
    main()
