"""What waiting threads cost: OpenMP's wait policies, on an idle machine and beside a busy process.

python scripts/benchmark_waiting.py [--rounds 5] [--steps 20] [--output docs/benchmark_waiting.csv]

After each parallel loop the threads of PyTorch wait for the next one. By default they spin for a
while, which saves the time to wake them up, and takes the core from whoever has work. Each policy
trains the same steps of the default job's network in a process of its own, in turn, alone and
beside a process that computes all the time.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd

POLICIES: dict[str, dict[str, str]] = {
    "spin (OpenMP's default)": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin for 1,000 rounds": {"GOMP_SPINCOUNT": "1000"},
    "spin for 10,000 rounds": {"GOMP_SPINCOUNT": "10000"},
}
BUSY = "while True: pass"
STEPS = """
import sys, time, torch  # before medcnn, which sets a policy of its own
from medcnn import nets
net = nets.build("resnet", in_channels=1, num_classes=3, input_size=(64, 64), width=0.5)
net = net.to(memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(net.parameters(), fused=True)
images = torch.randn(32, 1, 64, 64).contiguous(memory_format=torch.channels_last)
labels = torch.randint(3, (32,))
for step in range(3 + int(sys.argv[1])):
    if step == 3:
        wall, cpu = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    optimizer.step()
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = []
    for beside in (0, 1):
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(beside)]
        try:
            rows += measure(beside, options.rounds, options.steps)
        finally:
            for process in busy:
                process.kill()
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if options.output is not None:
        table.to_csv(options.output, index=False)


def measure(beside: int, rounds: int, steps: int) -> list[dict[str, object]]:
    """Medians over rounds of each policy, beside so many busy processes."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in POLICIES}
    for _ in range(rounds):
        for name, variables in POLICIES.items():
            seconds[name].append(train(variables, steps))
    walls = {name: statistics.median(wall for wall, _ in found) for name, found in seconds.items()}
    first = next(iter(walls))
    return [
        {
            "waiting threads": name,
            "busy processes beside": beside,
            "ms a step": round(1000 * walls[name] / steps, 1),
            "CPU ms a step": round(1000 * statistics.median(cpu for _, cpu in found) / steps, 1),
            "times the default's": round(walls[name] / walls[first], 2),
            "rounds": rounds,
        }
        for name, found in seconds.items()
    ]


def train(variables: dict[str, str], steps: int) -> tuple[float, float]:
    """Wall and CPU seconds of so many steps in a process with these environment variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(steps)],
        env=environment | variables,
        check=True,
        capture_output=True,
        text=True,
    )
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


if __name__ == "__main__":
    main()
