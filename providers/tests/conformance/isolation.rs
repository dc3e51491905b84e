//! What a container on a real engine may and may not do.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reactorcide_engine::provider::{
    ContainerSpec, Limits, Mount, NetworkMode, ProviderError, PullPolicy, Tmpfs, User,
};

use crate::docker::{STATIC, environment, sh};
use crate::environment::{DEADLINE, Environment, Program, ok, read_until, within};

fn script(environment: &Environment, name: &str, text: &str) -> ContainerSpec {
    let mut spec = environment.spec(name, Program::Exit(0));
    sh(&mut spec, text);
    spec
}

async fn check<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Arc<Environment>) -> F) {
    environment().await.leaves_nothing(body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn has_no_privilege() {
    check(|environment| async move {
        let spec = script(&environment, "status", "cat /proc/self/status; id -u; id -g");
        let (_, text) = environment.output(&spec).await;
        for line in
            ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "\n1001\n1001\n"]
        {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        let mut root =
            script(&environment, "root", "cat /proc/self/status; chown 5 /tmp 2>&1 || echo refused");
        root.user = User { uid: 0, gid: 0 };
        let (_, text) = environment.output(&root).await;
        assert!(text.contains("CapEff:\t0000000000000000") && text.contains("refused"), "{text}");
        let mut more = script(&environment, "more", "cat /proc/self/status");
        more.user = User { uid: 0, gid: 0 };
        more.capabilities = vec!["CHOWN".to_owned()];
        assert!(environment.output(&more).await.1.contains("CapEff:\t0000000000000001"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_memory_is_its_users_alone_and_bounded() {
    check(|environment| async move {
        for uid in [1001, 0] {
            let text = "grep ' /in-memory ' /proc/mounts; stat -c '%a %u %g' /in-memory; cd /in-memory
                cp /bin/busybox program && ./program true 2>/dev/null || echo refused
                head -c 3000000 /dev/zero > large 2>/dev/null || echo full";
            let mut spec = script(&environment, &format!("tmpfs-{uid}"), text);
            spec.tmpfs = vec![Tmpfs { target: "/in-memory".to_owned(), bytes: 2 << 20 }];
            spec.user = User { uid, gid: uid };
            // Also where nothing else can be written.
            spec.read_only = uid == 0;
            let (_, said) = environment.output(&spec).await;
            for word in ["tmpfs", "nosuid", "nodev", "noexec", "size=2048k", "\nrefused\nfull\n"] {
                assert!(said.contains(word), "{word} in {said}");
            }
            assert!(said.contains(&format!("\n700 {uid} {uid}\n")), "{said}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_told() {
    check(|environment| async move {
        let mut spec = script(&environment, "memory", "x=$(cat /dev/zero | tr '\\0' x)");
        sh(&mut spec, "exec tail /dev/zero");
        spec.limits = Limits { memory_bytes: Some(16 << 20), ..Limits::default() };
        let (exit, _) = environment.output(&spec).await;
        assert_eq!((exit.code, exit.oom), (137, true));
        let mut child = script(&environment, "child", "tail /dev/zero; exit 0");
        child.limits = spec.limits;
        let (exit, _) = environment.output(&child).await;
        assert_eq!(exit.code, 0, "a child's end is not the job's");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set() {
    check(|environment| async move {
        let cgroup = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us \
                      /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || \
                      cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max";
        let mut spec = script(&environment, "limits", cgroup);
        // More processors than this machine has are no error.
        spec.limits = Limits { cpu_millis: Some(64_000), memory_bytes: Some(64 << 20), pids: Some(33) };
        let (_, text) = environment.output(&spec).await;
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            (words[0], words[1], words.last().copied()),
            ("33", "6400000", Some("67108864")),
            "{text}"
        );
        let bomb = "i=0; while [ $i -lt 60 ]; do sleep 50 & i=$((i+1)); done 2>&1; echo all";
        let mut bomb = script(&environment, "bomb", bomb);
        bomb.limits.pids = Some(20);
        let (_, text) = environment.output(&bomb).await;
        assert!(text.contains("can't fork") && !text.contains("all\n"), "{text}");
        let (_, text) = environment.output(&script(&environment, "default", cgroup)).await;
        assert_eq!(text.split_whitespace().next(), Some("4096"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_means_all_but_tmp() {
    check(|environment| async move {
        let mut spec = script(
            &environment,
            "ro",
            "touch /x 2>&1; touch /tmp/y && echo ok; echo x >/tmp/z && cat /tmp/z",
        );
        spec.read_only = true;
        spec.user = User { uid: 0, gid: 0 };
        let (_, text) = environment.output(&spec).await;
        assert!(text.contains("Read-only file system") && text.contains("ok\nx\n"), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sees_only_the_mounts_given() {
    check(|environment| async move {
        let directory = tempfile::tempdir().expect("a directory");
        // A colon parts the fields of the older mount syntax.
        let [work, fixed] = ["wo:rk", "fixed"].map(|name| directory.path().join(name));
        for path in [&work, &fixed] {
            std::fs::create_dir(path).expect("made");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("set");
        }
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
        let text = "echo made >/job/file; touch /fixed/file 2>&1; pwd; grep -c ' /job ' /proc/self/mountinfo; \
                    grep -v -E ' (/|/job|/fixed|/etc/(hosts|hostname|resolv.conf)|/(proc|sys|dev)(/[^ ]*)?) ' \
                    /proc/self/mountinfo; ls /var/run/docker.sock 2>/dev/null; true";
        let mut spec = script(&environment, "mounts", text);
        spec.working_dir = Some("/job".to_owned());
        let mount = |source: &std::path::Path, target: &str, read_only| Mount {
            source: source.to_owned(),
            target: target.to_owned(),
            read_only,
        };
        spec.mounts = vec![mount(&work, "/job", false), mount(&fixed, "/fixed", true)];
        let (_, text) = environment.output(&spec).await;
        assert_eq!(text, "touch: /fixed/file: Read-only file system\n/job\n1\n");
        assert_eq!(std::fs::read_to_string(work.join("file")).expect("written"), "made\n");

        let mut missing = script(&environment, "missing", "true");
        missing.mounts = vec![mount(&directory.path().join("none"), "/job", false)];
        let error = within(environment.provider.create(&missing)).await.expect_err("there is no such directory");
        assert!(matches!(&error, ProviderError::Refused { reason } if reason.contains("/none")), "{error}");
        assert!(!directory.path().join("none").exists());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_network_is_loopback_only() {
    check(|environment| async move {
        let (_, text) = environment.output(&script(&environment, "none", "ls /sys/class/net")).await;
        assert_eq!(text, "lo\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_cannot_reach_one_another() {
    check(|environment| async move {
        let serve = "ip -4 -o addr show dev eth0 | sed 's/.*inet //; s,/.*,,'; readlink /proc/self/ns/net; \
                     ip route | grep -c default; exec nc -l -p 8080";
        let mut server = script(&environment, "server", serve);
        server.network = NetworkMode::Isolated;
        let (_id, mut attachment) = environment.started(&server).await;
        let text = read_until(&mut attachment, "]\n1\n").await;
        let address = text.lines().next().expect("an address").to_owned();
        let host = std::fs::read_link("/proc/self/ns/net").expect("a link");
        assert!(!text.contains(&*host.to_string_lossy()), "a network of its own");
        // The gateway answers, another job does not.
        let gateway = format!("{}.1", address.rsplit_once('.').expect("four parts").0);
        let reach = format!(
            "ping_one() {{ timeout 3 nc -w 2 $1 $2 </dev/null 2>&1; }}; ping_one {address} 8080 && echo reached; \
             echo asked; ping_one {gateway} 1; true"
        );
        let mut client = script(&environment, "client", &reach);
        client.network = NetworkMode::Isolated;
        let (_, text) = environment.output(&client).await;
        assert!(!text.contains("reached") && text.contains("asked"), "{text}");
        assert!(text.to_lowercase().contains("refused"), "the way out works: {text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_use_is_measured() {
    check(|environment| async move {
        let text =
            "echo ready; dd if=/dev/zero of=/tmp/big bs=1M count=20 2>/dev/null; echo written; sleep 1000";
        let mut spec = script(&environment, "disk", text);
        spec.user = User { uid: 0, gid: 0 };
        let (id, mut attachment) = environment.started(&spec).await;
        read_until(&mut attachment, "written").await;
        let deadline = Instant::now() + DEADLINE;
        let mut used = 0;
        while used < 20 << 20 {
            assert!(Instant::now() < deadline, "only {used} bytes");
            used = ok(environment.provider.disk_usage(&id)).await;
        }
        assert!(used < 30 << 20, "{used}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_is_refused_in_words() {
    check(|environment| async move {
        let refused = async |name: &str, program: &str, image: Option<&str>| {
            let mut spec = script(&environment, name, "");
            spec.image = image.map_or(spec.image, str::to_owned);
            spec.entrypoint = Some(vec![program.to_owned()]);
            spec.command = Some(Vec::new());
            let id = ok(environment.provider.create(&spec)).await;
            let error = within(environment.provider.start(&id)).await.expect_err("it cannot start");
            let ProviderError::Refused { reason } = error else { panic!("{error:?}") };
            let waited = within(environment.provider.wait(&id)).await;
            assert!(matches!(waited, Err(ProviderError::Refused { .. })), "waiting for it ends: {waited:?}");
            reason
        };
        assert_eq!(refused("path", "rustc", None).await, "the program \"rustc\" is not in the image's PATH");
        assert_eq!(
            refused("shell", "/bin/sh", Some(STATIC)).await,
            "the program \"/bin/sh\" does not exist in the image, or what it needs to start does not"
        );
        let directory = refused("directory", "/bin", None).await;
        assert!(directory.starts_with("the program \"/bin\" "), "{directory}");
        let text = refused("denied", "/etc/passwd", None).await;
        assert!(text.contains("permission denied"), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_told() {
    check(|environment| async move {
        let mut spec = script(&environment, "unknown", "true");
        spec.image = "reactorcide/no-such-image:local".to_owned();
        let created = within(environment.provider.create(&spec)).await;
        assert!(matches!(created, Err(ProviderError::Image { transient: false, .. })), "{created:?}");
        let pulled = environment.provider.pull(&spec.image, PullPolicy::Never, DEADLINE, &|_| {}).await;
        assert!(matches!(pulled, Err(ProviderError::Image { transient: false, .. })), "{pulled:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_shell_runs() {
    check(|environment| async move {
        let found =
            ok(environment.provider.pull(STATIC, PullPolicy::Never, Duration::from_secs(9), &|_| {})).await;
        assert!(found.id.starts_with("sha256:") && !found.command.is_empty(), "{found:?}");
        let mut spec = script(&environment, "static", "");
        spec.image = STATIC.to_owned();
        (spec.entrypoint, spec.command) = (None, None);
        assert_eq!(environment.output(&spec).await.0.code, 0);
    })
    .await;
}
