//! Where secrets are not while a job has them: in what the engine tells, in an image layer, on a disk, in what others see
//! of its first process.

use std::path::Path;

use super::{CANARY, project_with, said, start};
use crate::docker::{eventually, running, wait};

#[test]
fn a_file_with_a_secret_is_in_memory_and_nowhere_else() {
    let fields = "      secrets: {KEY: {secret: key, as: file}, VALUE: key}\n      steps:\n\
        \x20       - name: has\n          secrets: [KEY]\n          run: |\n\
        \x20           test \"$(cat $KEY)\" = \"$(printf %s c4nary-0f-th3-; printf attack5-x7Q)\"\n\
        \x20           echo \"${VALUE-unset} $(stat -c '%a %u' $KEY) $(stat -f -c %T $KEY)\"\n\
        \x20           touch /job/up; while test -e /job/up; do sleep 0.1; done\n\
        \x20       - {name: has-not, run: 'echo \"${KEY-unset} ${VALUE-unset}\"; find /reactorcide-secrets -type f'}\n";
    let project = project_with("keeper", fields);
    let child = start(&project);
    let workspaces = project.path().join(".reactorcide-state/workspaces");
    let mut up = None;
    eventually("the step has its file", || {
        up = said("find", &[&workspaces.display().to_string(), "-name", "up"])
            .lines()
            .next()
            .map(str::to_owned);
        up.as_deref().is_some_and(|path| Path::new(path).exists())
    });
    let container = running("keeper").pop().expect("it runs");
    let inspected = said("docker", &["inspect", &container]);
    assert!(inspected.contains("/reactorcide-secrets") && !inspected.contains(CANARY), "{inspected}");
    let field = |name: &str| said("docker", &["inspect", "--format", name, &container]).trim().to_owned();
    let first = field("{{.State.Pid}}");
    for file in ["environ", "cmdline"] {
        // As root of the machine.
        let shown = std::fs::read(format!("/proc/{first}/{file}")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&shown).contains(CANARY), "{file}");
    }
    let upper = field("{{index .GraphDriver.Data \"UpperDir\"}}");
    let on_disk = |place: &str| said("grep", &["-rla", "--", CANARY, place]);
    assert_eq!(
        on_disk(&project.path().display().to_string()),
        "",
        "the workspace, the state, what is spooled"
    );
    if upper.starts_with('/') && Path::new(&upper).exists() {
        assert_eq!(on_disk(&upper), "", "the layer of the container");
    }
    assert!(!said("docker", &["diff", &container]).contains("/reactorcide-secrets/"));
    std::fs::remove_file(up.expect("it was found")).expect("it is ours");
    let ended = wait(child);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("unset 400 1001 tmpfs"), "{ended:?}");
    assert!(
        ended.stdout.contains("unset unset") && !ended.stdout.contains("/reactorcide-secrets/"),
        "{ended:?}"
    );
    assert!(!format!("{ended:?}").contains(CANARY));
    project.assert_nothing_left();
}
