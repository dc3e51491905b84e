//! Containers that were started ahead of jobs, on the real engine.

mod desk;

use std::process::Command;
use std::time::Duration;

use desk::{PATIENCE, Working, repository};
use serde_json::{Value, json};

const IMAGE: &str = "reactorcide/busybox:local";

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker: run ./dev setup");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The ids of an owner's containers.
fn containers(owner: &str, more: &[&str]) -> Vec<String> {
    let filter = format!("label=reactorcide.owner={owner}");
    let listed = docker(&[&["ps", "--quiet", "--filter", &filter], more].concat());
    listed.lines().map(str::to_owned).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_finds_its_secrets_its_limits_and_its_source_in_a_container_that_waited() {
    let standby = json!([{"image": IMAGE, "min": 2, "max": 3}]);
    let mut working = Working::start(standby, &[("deploy/key", "s3cret-value")]);
    let origin = tempfile::tempdir().expect("a directory");
    let sha = repository(origin.path(), 60);
    working.until_waiting(2).await;
    let waiting = containers(working.owner(), &[]);
    assert_eq!(waiting.len(), 2);
    for id in &waiting {
        let inspected = docker(&["inspect", id]);
        assert!(!inspected.contains("s3cret-value"));
    }
    let job = json!({
        "image": IMAGE, "source": {"git": origin.path().display().to_string()},
        "secrets": {"KEY": "deploy/key"}, "environment": {"NAME": "value"},
        "command": "hostname; pwd; cat d1/f55 | head -n 1; echo $NAME $KEY; test \"$KEY\" = s3cret-value; echo x > d0/f0; touch ../artifacts/a",
    });
    let came = working.run(job.clone(), &sha).await;
    assert_eq!(came.result.failure, None, "{came:?}");
    let lines: Vec<&str> = came.log.lines().collect();
    assert!(waiting.iter().any(|id| id.starts_with(lines[0])), "{lines:?} of {waiting:?}");
    assert_eq!(lines[1..3], ["/job/src", "55"]);
    assert!(lines[3].starts_with("value ") && !came.log.contains("s3cret-value"), "{lines:?}");
    // What that one wrote, the next does not see.
    working.until_waiting(2).await;
    let mut look = job;
    look["command"] = json!("cat d0/f0 | head -n 1; ls ../artifacts");
    let came = working.run(look, &sha).await;
    assert_eq!(came.log, "0\n");
    let limited = json!({
        "image": IMAGE, "command": "hostname; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
        "resources": {"memory": "64Mi"},
    });
    let cold = working.run(limited.clone(), "").await;
    until("one of that shape waits", || {
        containers(working.owner(), &[])
            .iter()
            .any(|id| docker(&["inspect", "--format", "{{.HostConfig.Memory}}", id]) == "67108864")
    })
    .await;
    working.until_waiting(3).await;
    let waiting = containers(working.owner(), &[]);
    let warm = working.run(limited, "").await;
    let name = |log: &str| log.lines().next().unwrap_or_default().to_owned();
    assert!(waiting.iter().any(|id| id.starts_with(&name(&warm.log))));
    assert!(!waiting.iter().any(|id| id.starts_with(&name(&cold.log))));
    assert!(warm.log.contains("67108864"), "{}", warm.log);
    let owner = working.owner().to_owned();
    let directory = working.drain().await;
    assert_eq!(containers(&owner, &["--all"]), Vec::<String>::new());
    let left =
        std::fs::read_dir(directory.path().join("workspaces").join(&owner)).expect("a directory").count();
    assert_eq!(left, 0);
}

/// What an engine says of a container, without what is its own: names, times, and where its workspace is.
fn normal(id: &str) -> Value {
    let mut inspected: Value = serde_json::from_str(&docker(&["inspect", id])).expect("JSON");
    let container = &mut inspected[0];
    for name in [
        "Id",
        "Created",
        "State",
        "Name",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "GraphDriver",
        "NetworkSettings",
    ] {
        container[name] = Value::Null;
    }
    (container["Config"]["Hostname"], container["Config"]["Labels"]) = (Value::Null, Value::Null);
    let host = container["HostConfig"]["Mounts"].as_array_mut().expect("mounts");
    let own = |target: &Value| target == "/job" || target == "/reactorcide-control";
    host.iter_mut().filter(|mount| own(&mount["Target"])).for_each(|mount| mount["Source"] = Value::Null);
    let mounts = container["Mounts"].as_array_mut().expect("mounts");
    mounts
        .iter_mut()
        .filter(|mount| own(&mount["Destination"]))
        .for_each(|mount| mount["Source"] = Value::Null);
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    container.take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_waited_may_nothing_that_one_of_its_own_may_not() {
    let mut working = Working::start(json!([{"image": IMAGE, "min": 1, "max": 2}]), &[]);
    working.until_waiting(1).await;
    let job = json!({
        "image": IMAGE, "source": {"none": true}, "command": "echo up; while [ ! -e /job/go ]; do sleep 0.05; done",
        "resources": {"cpu": "500m", "memory": "64Mi", "pids": 50}, "network": "none", "read_only": true, "capabilities": ["CHOWN"],
    });
    let (cold, owner) = (working.submit(job.clone(), ""), working.owner().to_owned());
    let labelled = |key: &str| containers(&owner, &["--filter", &format!("label={key}")]);
    let is_limited =
        |id: &String| docker(&["inspect", "--format", "{{.HostConfig.Memory}}", id]) == "67108864";
    until("the first runs and another of that shape waits", || {
        labelled("reactorcide.job").len() == 1 && labelled("reactorcide.standby").iter().any(is_limited)
    })
    .await;
    let waits = labelled("reactorcide.standby").into_iter().find(is_limited).expect("it waits");
    until("it is ready", || working.worker.standby.waiting() >= 1).await;
    let own = labelled("reactorcide.job").remove(0);
    let warm = working.submit(job, "");
    let processes = |id: &str| docker(&["top", id]).lines().count();
    until("it has its job", || processes(&waits) > 2 && processes(&own) > 2).await;
    assert_eq!(normal(&waits), normal(&own));
    for id in [&waits, &own] {
        docker(&["exec", id, "touch", "/job/go"]);
    }
    for came in [cold, warm] {
        let came = tokio::time::timeout(PATIENCE, came).await.expect("in time").expect("an end");
        assert_eq!((came.result.failure, came.log.as_str()), (None, "up\n"), "{came:?}");
    }
    working.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_ends_by_itself_when_its_worker_is_gone_and_is_swept() {
    let working = Working::start(json!([{"image": IMAGE, "min": 2, "max": 2}]), &[]);
    working.until_waiting(2).await;
    let owner = working.owner().to_owned();
    let directory = working.vanish().await;
    until("they end", || containers(&owner, &[]).is_empty()).await;
    assert_eq!(containers(&owner, &["--all"]).len(), 2);
    let provider = reactorcide_providers::docker(reactorcide_providers::DockerConfig::from_environment());
    reactorcide_worker::sweep(directory.path(), &provider).await.expect("swept");
    assert_eq!(containers(&owner, &["--all"]), Vec::<String>::new());
    assert!(!directory.path().join("workspaces").join(&owner).exists());
}
