//! What a container must be before it starts, and nothing of the job that will run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reactorcide_engine::config::Job;
use reactorcide_engine::provider::{ContainerSpec, Owner, User};

use crate::container::{Paths, container_of};
use crate::workspace::beside;

/// The label that says which waiting container one was, also once it runs a job.
pub const LABEL: &str = "reactorcide.standby";
/// Stands for the workspace, which each container has of its own.
const WORKSPACE: &str = "/workspace-of-a-container";

/// Everything about a container that cannot be changed once it was started: whatever is not known to be a container's
/// own, or to travel with the job, must be the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape(ContainerSpec);

impl Shape {
    /// That of a job's container; nothing where none can wait for it: an image that runs untouched has no runner to
    /// wait, and a layer over its code can only be mounted at the start.
    pub fn of(container: &ContainerSpec, workspace: &Path) -> Option<Self> {
        if !container.stdin || !container.overlays.is_empty() {
            return None;
        }
        let mut shape = ContainerSpec { name: String::new(), labels: BTreeMap::new(), ..container.clone() };
        replace(&mut shape, workspace, Path::new(WORKSPACE));
        Some(Self(shape))
    }

    /// That of a job which says nothing but its image.
    pub fn plain(
        image: &str,
        owner: &Owner,
        runner: &Path,
        python: Option<&Path>,
        host: User,
    ) -> Option<Self> {
        let job = Job { image: Some(image.to_owned()), ..Job::default() };
        let (workspace, python) = (PathBuf::from(WORKSPACE), python.map(Path::to_owned));
        let control = Some(beside(&workspace, "control"));
        let paths = Paths { workspace, runner: runner.to_owned(), python, ci: None, control };
        Self::of(&container_of(&job, owner, &paths, host), Path::new(WORKSPACE))
    }

    /// A container of this shape.
    pub fn container(&self, name: &str, id: &str, workspace: &Path) -> ContainerSpec {
        let labels = BTreeMap::from([(LABEL.to_owned(), id.to_owned())]);
        let mut container = ContainerSpec { name: name.to_owned(), labels, ..self.0.clone() };
        replace(&mut container, Path::new(WORKSPACE), workspace);
        container
    }

    /// Its image.
    pub fn image(&self) -> &str {
        &self.0.image
    }

    /// Its user.
    pub fn user(&self) -> User {
        self.0.user
    }

    /// What it mounts of its workspace's own, by what stands behind the workspace's name: nothing for itself.
    pub fn own_mounts(&self) -> Vec<String> {
        let mounts = self.0.mounts.iter();
        mounts.filter_map(|mount| behind(&mount.source, Path::new(WORKSPACE)).map(str::to_owned)).collect()
    }
}

/// Puts one workspace for another.
fn replace(container: &mut ContainerSpec, from: &Path, to: &Path) {
    for mount in &mut container.mounts {
        if let Some(rest) = behind(&mount.source, from) {
            mount.source = PathBuf::from(format!("{}{rest}", to.display()));
        }
    }
}

/// What follows a workspace's path in that of something beside it.
fn behind<'a>(path: &'a Path, workspace: &Path) -> Option<&'a str> {
    let rest = path.to_str()?.strip_prefix(workspace.to_str()?)?;
    (rest.is_empty() || rest.starts_with('.')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::container::container_spec;
    use crate::spec::tests::assignment;

    fn owner() -> Owner {
        Owner("o".to_owned())
    }

    fn container(job: Value, workspace: &str) -> ContainerSpec {
        let assignment = assignment(job);
        let ci = assignment.job.ci_source.as_ref().map(|_| PathBuf::from(format!("{workspace}.ci")));
        let paths = Paths {
            workspace: workspace.into(),
            runner: "/r".into(),
            python: None,
            ci,
            control: Some(PathBuf::from(format!("{workspace}.control"))),
        };
        container_spec(&assignment, &owner(), &paths, User { uid: 0, gid: 0 })
    }

    fn shape(job: Value, workspace: &str) -> Option<Shape> {
        Shape::of(&container(job, workspace), Path::new(workspace))
    }

    #[test]
    fn what_travels_with_the_job_makes_no_difference() {
        let plain = Shape::plain("i", &owner(), Path::new("/r"), None, User { uid: 0, gid: 0 });
        let job = json!({"image": "i", "command": "c", "environment": {"A": "b"}, "secrets": {"K": "k"}, "timeout": "1m",
            "working_dir": "x", "source": {"git": "https://h/x"}});
        assert!(plain.is_some());
        assert_eq!(shape(job, "/w/1"), plain);
    }

    #[test]
    fn whatever_cannot_change_after_the_start_makes_a_difference() {
        let plain = shape(json!({"image": "i"}), "/w/1");
        for (field, value) in [
            ("image", json!("j")),
            ("mount", json!("/m")),
            ("run_as", json!("7:8")),
            ("network", json!("none")),
            ("read_only", json!(true)),
            ("devices", json!(["/dev/kvm"])),
            ("capabilities", json!(["NET_RAW"])),
            ("resources", json!({"memory": "64Mi"})),
            ("ci_source", json!({"git": "https://h/x", "path": "x.sh"})),
        ] {
            let mut job = json!({"image": "i"});
            job[field] = value;
            let other = shape(job, "/w/1");
            assert!(other.is_some() && other != plain, "{field}");
        }
    }

    #[test]
    fn a_container_is_what_the_job_would_have_had_in_another_workspace() {
        let job = json!({"image": "i", "command": "c", "ci_source": {"git": "https://h/x", "path": "x.sh"}});
        let shape = shape(job.clone(), "/w/1").expect("a shape");
        let cold = container(job, "/w/2");
        let waiting = shape.container("n", "id", Path::new("/w/2"));
        assert_eq!(ContainerSpec { name: cold.name.clone(), labels: cold.labels.clone(), ..waiting }, cold);
        assert_eq!(shape.own_mounts(), ["", ".control", ".ci"]);
    }

    #[test]
    fn nothing_waits_for_an_image_that_runs_untouched() {
        assert_eq!(shape(json!({"image": "i", "runner": "none"}), "/w/1"), None);
    }
}
