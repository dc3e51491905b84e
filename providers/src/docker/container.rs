//! What a container is created with: everything that it may not do is said here.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount as DockerMount,
    MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig, ResourcesUlimits,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use reactorcide_engine::provider::{
    ContainerId, ContainerSpec, ContainerSummary, Mount, Overlay, ProviderError, Tmpfs, User,
};

use super::OWNER_LABEL;
use super::errors::{Subject, is_missing, status_of};

/// Processes and threads where a job sets no limit: enough for any build, too few to take the host.
const DEFAULT_PIDS: i64 = 4096;
/// The `/tmp` of a container whose image cannot be written.
const TEMPORARY: &str = "rw,exec,nosuid,nodev,size=64m,mode=1777";
/// How long a name may be taken by a container that cannot be seen yet.
const NAME_SETTLES: Duration = Duration::from_secs(10);

/// Creates the container, or finds the one of that name.
pub(super) async fn create(
    docker: &Docker,
    subject: Subject<'_>,
    spec: &ContainerSpec,
    network: String,
) -> Result<ContainerId, ProviderError> {
    let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
    let body = body(spec, network);
    let deadline = tokio::time::Instant::now() + NAME_SETTLES;
    loop {
        let conflict = match docker.create_container(Some(options.clone()), body.clone()).await {
            Ok(created) => return Ok(ContainerId(created.id)),
            Err(error) if status_of(&error) == Some(409) => error,
            Err(error) if is_missing(&error) && super::errors::text_of(&error).contains("No such image") => {
                return Err(ProviderError::Image {
                    image: spec.image.clone(),
                    reason: "the engine does not have it".to_owned(),
                    transient: false,
                });
            }
            Err(error) => return Err(subject.error(error)),
        };
        match docker.inspect_container(&spec.name, None).await {
            Ok(existing) => {
                let labels = existing.config.and_then(|config| config.labels).unwrap_or_default();
                if labels.get(OWNER_LABEL) != Some(&spec.owner.0) {
                    let reason = format!("the name {:?} belongs to a container of somebody else", spec.name);
                    return Err(ProviderError::Engine { operation: subject.operation, reason });
                }
                return existing.id.map(ContainerId).ok_or_else(|| subject.error(conflict));
            }
            // Reserved by a creation that is under way, or just removed.
            Err(error) if is_missing(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(subject.error(error)),
        }
    }
}

/// A line of the engine's list.
pub(super) fn summary(listed: bollard::models::ContainerSummary) -> Option<ContainerSummary> {
    let name = listed.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let running =
        listed.state.is_some_and(|state| matches!(state.to_string().as_str(), "running" | "paused"));
    Some(ContainerSummary {
        id: ContainerId(listed.id?),
        name: name.trim_start_matches('/').to_owned(),
        labels: listed.labels.unwrap_or_default().into_iter().collect(),
        running,
    })
}

fn body(spec: &ContainerSpec, network: String) -> ContainerCreateBody {
    let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
    labels.insert(OWNER_LABEL.to_owned(), spec.owner.0.clone());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        env: Some(spec.environment.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        working_dir: spec.working_dir.clone(),
        user: Some(format!("{}:{}", spec.user.uid, spec.user.gid)),
        labels: Some(labels),
        tty: Some(false),
        attach_stdin: Some(spec.stdin),
        open_stdin: Some(spec.stdin),
        // The end of our connection is the end of its input.
        stdin_once: Some(spec.stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        // An image's own health check would run beside the job.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        host_config: Some(host_config(spec, network)),
        ..Default::default()
    }
}

fn host_config(spec: &ContainerSpec, network: String) -> HostConfig {
    let memory = spec.limits.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let temporary = spec.read_only.then(|| ("/tmp".to_owned(), TEMPORARY.to_owned()));
    let tmpfs = spec.tmpfs.iter().map(|tmpfs| (tmpfs.target.clone(), options(tmpfs, spec.user)));
    HostConfig {
        network_mode: Some(network),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(spec.capabilities.clone()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        readonly_rootfs: Some(spec.read_only),
        tmpfs: Some(temporary.into_iter().chain(tmpfs).collect()),
        // The attached stream is the only copy: the engine's own logs cost 30 times their size and lose lines.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        init: Some(false),
        auto_remove: Some(false),
        memory,
        // The same figure: no swap on top.
        memory_swap: memory,
        // A quota and not NanoCpus, which refuses more processors than the engine has.
        cpu_period: spec.limits.cpu_millis.map(|_| 100_000),
        cpu_quota: spec.limits.cpu_millis.map(|millis| (i64::from(millis) * 100).max(1_000)),
        pids_limit: Some(spec.limits.pids.map_or(DEFAULT_PIDS, i64::from)),
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        mounts: Some(spec.mounts.iter().map(mount).chain(spec.overlays.iter().map(overlay)).collect()),
        devices: Some(spec.devices.iter().map(|device| device_mapping(device)).collect()),
        ..Default::default()
    }
}

/// Files in it are its user's alone.
fn options(tmpfs: &Tmpfs, user: User) -> String {
    let (size, uid, gid) = (tmpfs.bytes, user.uid, user.gid);
    format!("rw,noexec,nosuid,nodev,size={size},mode=0700,uid={uid},gid={gid}")
}

/// A bind mount as an object: in the older `source:target` string a colon in a path means something else, and
/// a source that is missing is made by root.
fn mount(mount: &Mount) -> DockerMount {
    DockerMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..Default::default()
    }
}

/// A volume without a name, which goes with its container. The engine mounts it, so that we need no right to and it
/// lies where the engine looks.
fn overlay(overlay: &Overlay) -> DockerMount {
    let (lower, upper, work) = (overlay.lower.display(), overlay.upper.display(), overlay.work.display());
    let options = [
        ("type".to_owned(), "overlay".to_owned()),
        ("device".to_owned(), "overlay".to_owned()),
        ("o".to_owned(), format!("lowerdir={lower},upperdir={upper},workdir={work}")),
    ];
    let driver =
        MountVolumeOptionsDriverConfig { name: Some("local".to_owned()), options: Some(options.into()) };
    DockerMount {
        typ: Some(MountType::VOLUME),
        target: Some(overlay.target.clone()),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            driver_config: Some(driver),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// `host`, `host:container` or `host:container:rwm`.
fn device_mapping(device: &str) -> DeviceMapping {
    let mut parts = device.splitn(3, ':');
    let host = parts.next().unwrap_or_default().to_owned();
    let container = parts.next().filter(|part| !part.is_empty()).unwrap_or(&host).to_owned();
    let permissions = parts.next().unwrap_or("rwm").to_owned();
    DeviceMapping {
        path_on_host: Some(host),
        path_in_container: Some(container),
        cgroup_permissions: Some(permissions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_keep_their_name_unless_told() {
        let mapped = device_mapping("/dev/kvm");
        assert_eq!(mapped.path_in_container.as_deref(), Some("/dev/kvm"));
        let mapped = device_mapping("/dev/ttyUSB0:/dev/board:r");
        assert_eq!(mapped.path_in_container.as_deref(), Some("/dev/board"));
        assert_eq!(mapped.cgroup_permissions.as_deref(), Some("r"));
    }
}
