//! Who may read and who may write which artifact.
//!
//! There are two levels. A *trusted* job runs code that a branch of the project already has; every other one runs what
//! somebody proposes. Content flows up nowhere, so that a proposal cannot change what a trusted job does; and it flows
//! down only from jobs that could reach no secret, so that a proposal cannot carry one away.

use std::fmt;

use super::{Artifact, ArtifactKind, Namespace};

/// A job that reads or writes, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its run.
    pub run: String,
    /// Where its code belongs.
    pub namespace: Namespace,
    /// Whether it is trusted: its source and its CI source are of the origin `base`, and nobody that triggered it was not.
    pub trusted: bool,
    /// Whether it could reach no secret, and takes nothing from a job that could: see [`super::producer`]. What it makes is
    /// labelled so, and it reads nothing else, so that the label is right.
    pub secretless: bool,
}

/// Why something may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// The same run made it, in the same namespace.
    SameRun,
    /// It is of the job's own namespace.
    OwnNamespace,
    /// It is a trusted job's of the project's default branch.
    DefaultBranch,
    /// A trusted job made it that could reach no secret.
    TrustedAndSecretless,
}

/// Why something may not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It is another project's.
    OtherProject,
    /// A trusted job must not take what code made that is only proposed.
    LowerTrust,
    /// A job that could reach secrets must not take what another run made of code that is only proposed.
    Unseen,
    /// The job that made it could reach secrets.
    Secrets,
    /// It belongs to another branch of the project, which is not the default one.
    OtherBranch,
    /// It belongs to another proposal.
    OtherProposal,
    /// A job writes to its own namespace only.
    NotOwnNamespace,
}

impl fmt::Display for Readable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameRun => "a job of the same run made it",
            Self::OwnNamespace => "it belongs to the same branch or proposal",
            Self::DefaultBranch => "it belongs to the project's default branch",
            Self::TrustedAndSecretless => "a trusted job made it that could reach no secret",
        })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherProject => "it belongs to another project",
            Self::LowerTrust => "the job is trusted, and proposed code made it",
            Self::Unseen => "the job could reach secrets, and another run of proposed code made it",
            Self::Secrets => "the job that made it could reach secrets",
            Self::OtherBranch => "it belongs to another branch, which is not the default one",
            Self::OtherProposal => "it belongs to another proposal",
            Self::NotOwnNamespace => "a job writes to the namespace of its own branch or proposal only",
        })
    }
}

/// Whether a job may read something, and why. `default_branch` is that of the project.
pub fn may_read(job: &Job, artifact: &Artifact, default_branch: Option<&str>) -> Result<Readable, Denied> {
    let (ours, theirs) = (&job.namespace, &artifact.namespace);
    if ours.project != theirs.project {
        return Err(Denied::OtherProject);
    }
    if job.trusted && !artifact.trusted {
        return Err(Denied::LowerTrust);
    }
    if job.secretless && !artifact.secretless {
        return Err(Denied::Secrets);
    }
    if ours == theirs && job.trusted == artifact.trusted && job.run == artifact.run {
        return Ok(Readable::SameRun);
    }
    if job.trusted {
        return if ours == theirs {
            Ok(Readable::OwnNamespace)
        } else if default_branch == Some(theirs.reference.as_str()) {
            Ok(Readable::DefaultBranch)
        } else {
            Err(Denied::OtherBranch)
        };
    }
    // What ran without secrets nobody need have looked at; what has some takes nothing from it, not even of its own proposal.
    if !job.secretless && !artifact.trusted {
        return Err(Denied::Unseen);
    }
    // Between two runs of one proposal its code may have changed, and who let the first one reach a secret did not see it.
    if !artifact.secretless {
        return Err(Denied::Secrets);
    }
    if artifact.trusted {
        Ok(Readable::TrustedAndSecretless)
    } else if ours == theirs {
        Ok(Readable::OwnNamespace)
    } else {
        Err(Denied::OtherProposal)
    }
}

/// Whether a job may write to a namespace.
pub fn may_write(job: &Job, namespace: &Namespace) -> Result<(), Denied> {
    if job.namespace.project != namespace.project {
        Err(Denied::OtherProject)
    } else if job.namespace == *namespace {
        Ok(())
    } else {
        Err(Denied::NotOwnNamespace)
    }
}

/// The best of the caches that are there for a job: its key before a prefix of `restore_keys`, the first of those before
/// the next, the job's own namespace before others, and the newest before the older.
pub fn best_cache<'a>(
    job: &Job,
    default_branch: Option<&str>,
    key: &str,
    restore_keys: &[String],
    caches: &'a [Artifact],
) -> Option<&'a Artifact> {
    let rank = |cache: &Artifact| {
        if cache.name == key {
            return Some(0);
        }
        restore_keys.iter().position(|prefix| cache.name.starts_with(prefix.as_str())).map(|index| index + 1)
    };
    caches
        .iter()
        .filter(|cache| cache.kind == ArtifactKind::Cache && may_read(job, cache, default_branch).is_ok())
        .filter_map(|cache| Some((rank(cache)?, cache)))
        .min_by_key(|(rank, cache)| {
            (*rank, cache.namespace != job.namespace, std::cmp::Reverse((cache.created_at, &cache.id)))
        })
        .map(|(_, cache)| cache)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::conformance::artifact;
    use crate::config::Origin;

    fn namespace(origin: Origin, reference: &str) -> Namespace {
        Namespace { project: "web".to_owned(), origin, reference: reference.to_owned() }
    }

    fn job(origin: Origin, reference: &str) -> Job {
        let namespace = namespace(origin, reference);
        Job { run: "reader".to_owned(), namespace, trusted: origin == Origin::Base, secretless: false }
    }

    fn made(origin: Origin, reference: &str, secretless: bool) -> Artifact {
        let trusted = origin == Origin::Base;
        Artifact { namespace: namespace(origin, reference), secretless, trusted, ..artifact("1") }
    }

    #[test]
    fn content_flows_down_without_secrets_and_never_up() {
        use Origin::{Base, Fork, Head, Unverified};
        let trusted = job(Base, "main");
        for lower in [Head, Fork, Unverified] {
            for secretless in [false, true] {
                // Not even where the ref has the same name.
                let read = may_read(&trusted, &made(lower, "main", secretless), Some("main"));
                assert_eq!(read, Err(Denied::LowerTrust));
            }
            let reader = Job { secretless: true, ..job(lower, "pull/1") };
            let read = |artifact| may_read(&reader, &artifact, Some("main"));
            assert_eq!(read(made(Base, "main", true)), Ok(Readable::TrustedAndSecretless));
            assert_eq!(read(made(Base, "main", false)), Err(Denied::Secrets));
            assert_eq!(read(made(lower, "pull/1", true)), Ok(Readable::OwnNamespace));
            assert_eq!(read(made(lower, "pull/1", false)), Err(Denied::Secrets));
            assert_eq!(read(made(lower, "pull/2", true)), Err(Denied::OtherProposal));
        }
        let reader = Job { secretless: true, ..job(Fork, "pull/1") };
        assert_eq!(may_read(&reader, &made(Head, "pull/1", true), None), Err(Denied::OtherProposal));
    }

    #[test]
    fn trusted_jobs_read_their_branch_and_the_default_one() {
        let read = |reference: &str| {
            may_read(&job(Origin::Base, "feature"), &made(Origin::Base, reference, false), Some("main"))
        };
        assert_eq!(read("feature"), Ok(Readable::OwnNamespace));
        assert_eq!(read("main"), Ok(Readable::DefaultBranch));
        assert_eq!(read("other"), Err(Denied::OtherBranch));
    }

    #[test]
    fn a_run_passes_on_what_it_made_unless_it_is_tainted() {
        let reader = Job { run: "run".to_owned(), ..job(Origin::Head, "pull/1") };
        let made = Artifact { run: "run".to_owned(), ..made(Origin::Head, "pull/1", false) };
        assert_eq!(may_read(&reader, &made, None), Ok(Readable::SameRun));
        let trusted = Job { run: "run".to_owned(), ..job(Origin::Base, "main") };
        let tainted = Artifact { trusted: false, namespace: trusted.namespace.clone(), ..made };
        assert_eq!(may_read(&trusted, &tainted, Some("main")), Err(Denied::LowerTrust));
    }

    #[test]
    fn who_is_labelled_as_free_of_secrets_reads_nothing_that_is_not() {
        let own = made(Origin::Base, "main", false);
        let mut reader = Job { run: own.run.clone(), secretless: true, ..job(Origin::Base, "main") };
        assert_eq!(may_read(&reader, &own, Some("main")), Err(Denied::Secrets));
        assert_eq!(may_read(&reader, &made(Origin::Base, "main", true), Some("main")), Ok(Readable::SameRun));
        reader.secretless = false;
        assert_eq!(may_read(&reader, &own, Some("main")), Ok(Readable::SameRun));
    }

    #[test]
    fn a_job_with_secrets_takes_nothing_that_an_unseen_run_of_its_proposal_made() {
        let planted = made(Origin::Fork, "pull/1", true);
        let reader = job(Origin::Fork, "pull/1");
        assert_eq!(may_read(&reader, &planted, Some("main")), Err(Denied::Unseen));
        assert_eq!(
            may_read(&reader, &made(Origin::Base, "main", true), Some("main")),
            Ok(Readable::TrustedAndSecretless)
        );
        let own = Artifact { run: reader.run.clone(), ..planted };
        assert_eq!(may_read(&reader, &own, Some("main")), Ok(Readable::SameRun));
    }

    #[test]
    fn projects_are_apart_and_everybody_writes_at_home() {
        let reader = job(Origin::Base, "main");
        let mut theirs = made(Origin::Base, "main", true);
        theirs.namespace.project = "api".to_owned();
        assert_eq!(may_read(&reader, &theirs, Some("main")), Err(Denied::OtherProject));
        assert_eq!(may_write(&reader, &theirs.namespace), Err(Denied::OtherProject));
        assert_eq!(may_write(&reader, &reader.namespace), Ok(()));
        for other in [namespace(Origin::Head, "main"), namespace(Origin::Base, "next")] {
            assert_eq!(may_write(&reader, &other), Err(Denied::NotOwnNamespace));
        }
    }

    #[test]
    fn the_best_cache_is_the_exact_one_then_the_nearest_and_newest() {
        let cache = |id: &str, reference: &str, name: &str, created_at| Artifact {
            id: id.to_owned(),
            kind: ArtifactKind::Cache,
            name: name.to_owned(),
            created_at,
            ..made(Origin::Base, reference, true)
        };
        let caches = [
            cache("a", "main", "deps-1", 1),
            cache("b", "main", "deps-2", 2),
            cache("c", "feature", "deps-0", 0),
            cache("d", "other", "deps-9", 9),
            cache("e", "main", "exact", 0),
        ];
        let best = |key: &str, restore: &[&str]| {
            let restore: Vec<String> = restore.iter().map(|&prefix| prefix.to_owned()).collect();
            best_cache(&job(Origin::Base, "feature"), Some("main"), key, &restore, &caches)
                .map(|cache| cache.id.clone())
        };
        assert_eq!(best("exact", &["deps-"]).as_deref(), Some("e"));
        assert_eq!(best("none", &["deps-"]).as_deref(), Some("c"));
        assert_eq!(best("none", &["deps-2", "deps-"]).as_deref(), Some("b"));
        assert_eq!(best("deps-9", &[]), None);
    }
}
