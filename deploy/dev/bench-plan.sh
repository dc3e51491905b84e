#!/usr/bin/env bash
# Times and weighs plans of configurations of 1,000 and 10,000 resources: nothing changed, nothing changed and
# remembered, one in a hundred changed. Where Terraform is installed, the same graph is made for its built-in
# terraform_data, and the ratio is printed; where not, it says so.
#
#   deploy/dev/bench-plan.sh [SIZE...]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
reactorcide=$PWD/target/release/reactorcide
[ -x "$reactorcide" ] || { echo "build it first: ./dev build" >&2; exit 1; }
cargo build --quiet --release --locked --package reactorcide-engine --example generate
generate=$PWD/target/release/examples/generate
[ $# -gt 0 ] || set -- 1000 10000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v terraform >/dev/null || echo "Terraform is not installed: our own figures only"

REACTORCIDE=$reactorcide GENERATE=$generate WORK=$work python3 - "$@" <<'EOT'
import json, os, pathlib, re, shutil, statistics, subprocess, sys, time, uuid

ROUNDS = 5
ours, generate, work = (os.environ[name] for name in ("REACTORCIDE", "GENERATE", "WORK"))


def measure(command, directory, before=lambda: None):
    """The median of the seconds, and the most memory, of a command that is run several times."""
    times, memory = [], 0
    for _ in range(ROUNDS):
        before()
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        times.append(time.monotonic() - begun)
        memory = max(memory, usage.ru_maxrss // 1024)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{command} ended with {process.returncode}")
    return statistics.median(times), memory


def show(size, what, figures):
    print(f"{size:>7}  {what:<42} {figures[0]:8.3f} s {figures[1]:6} MB", flush=True)


def ratio(theirs, mine):
    print(f"         Terraform takes {theirs[0] / mine[0]:.0f} times the time and {theirs[1] / mine[1]:.1f} times the memory")


def applied(size):
    """The state after an apply, as Terraform writes it: its own apply of 10,000 takes more than ten minutes."""
    def instance(n):
        value = {"value": f"value {n}", "type": "string"}
        attributes = {"id": str(uuid.UUID(int=n)), "input": value, "output": value, "triggers_replace": None}
        depends = [f"terraform_data.r{n - n % 10}"] if n % 10 else []
        return {"schema_version": 0, "attributes": attributes, "sensitive_attributes": [], "dependencies": depends}

    resources = [
        {
            "mode": "managed", "type": "terraform_data", "name": f"r{n}",
            "provider": 'provider["terraform.io/builtin/terraform"]', "instances": [instance(n)],
        }
        for n in range(size)
    ]
    head = {"version": 4, "terraform_version": "1.0.0", "serial": 1, "lineage": str(uuid.UUID(int=1))}
    return {**head, "outputs": {}, "resources": resources, "check_results": None}


for size in map(int, sys.argv[1:]):
    directory = pathlib.Path(work, str(size))
    subprocess.run([generate, str(size), directory], check=True)
    apply = [ours, "apply", "--auto-approve", "--accept-findings"]
    subprocess.run(apply, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    remembered = directory / ".reactorcide-state/plans-without-changes"
    cold = measure([ours, "plan"], directory, lambda: remembered.unlink(missing_ok=True))
    show(size, "reactorcide, nothing changed", cold)
    show(size, "reactorcide, nothing changed, remembered", measure([ours, "plan"], directory))
    files = sorted((directory / ".reactorcide").glob("project-*.yaml"))
    for file in files[:: max(1, len(files) * 10 // max(1, size // 10))]:
        file.write_text(re.sub(r"cargo test", "cargo test --all", file.read_text(), count=1))
    changed = measure([ours, "plan"], directory)
    show(size, "reactorcide, some changed", changed)

    if shutil.which("terraform"):
        there = pathlib.Path(work, f"terraform-{size}")
        there.mkdir()
        text = "".join(
            f'resource "terraform_data" "r{n}" {{\n  input = "value {n}"\n'
            + (f"  depends_on = [terraform_data.r{n - n % 10}]\n" if n % 10 else "")
            + "}\n"
            for n in range(size)
        )
        (there / "main.tf").write_text(text)
        (there / "terraform.tfstate").write_text(json.dumps(applied(size)))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["terraform", "init"], cwd=there, check=True, **quiet)
        # It agrees that this is applied; 2 would say that there are changes.
        subprocess.run(["terraform", "plan", "-detailed-exitcode"], cwd=there, check=True, **quiet)
        theirs = measure(["terraform", "plan"], there)
        show(size, "terraform, nothing changed", theirs)
        ratio(theirs, cold)
        (there / "main.tf").write_text(re.sub(r'"value (\d*00)"', r'"another \1"', text))
        theirs = measure(["terraform", "plan"], there)
        show(size, "terraform, one in a hundred changed", theirs)
        ratio(theirs, changed)
EOT
