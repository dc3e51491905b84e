//! What a token says of a job, or why there is none for it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::artifacts::Origins;
use crate::config::{Catalog, EventType, ExecutionProfileSpec, Kind, Origin, Spec};
use crate::scheduler::{Assignment, Millis};
use crate::workflow::Profile;

/// The longest that a token is good for.
pub const LONGEST_MS: Millis = 10 * 60 * 1000;
/// How far the clock of who reads it may be behind ours, in seconds.
const SKEW: Millis = 60;

/// What a token is asked for.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// For whom.
    pub audience: &'a str,
    /// What the job is.
    pub assignment: &'a Assignment,
    /// Its pipeline.
    pub pipeline: &'a Address,
    /// Where its code comes from.
    pub origins: &'a Origins,
    /// What is applied now.
    pub catalog: &'a Catalog,
    /// Which apply was the last.
    pub policy_revision: u64,
    /// Where the server is, for everybody.
    pub issuer: &'a str,
    /// Now.
    pub now: Millis,
    /// When its lease ends, unless it is renewed.
    pub lease_until: Millis,
    /// The token's own id.
    pub id: String,
}

/// What a token says. The names are those of the tokens themselves; docs/identity.md describes each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The server.
    pub iss: String,
    /// For whom it is.
    pub aud: String,
    /// The job, with what it can be trusted by.
    pub sub: String,
    /// Good until, in seconds since 1970.
    pub exp: Millis,
    /// Good from.
    pub nbf: Millis,
    /// Signed at.
    pub iat: Millis,
    /// Its own id.
    pub jti: String,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The pipeline's name.
    pub pipeline: String,
    /// The job's name in the pipeline.
    pub job: String,
    /// The job's name in the run, expansion included.
    pub node: String,
    /// The run.
    pub run_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The type of the event.
    pub event: String,
    /// The whole name of the branch or tag. For a pull request, of the branch that it would be merged into.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Where its code comes from, the worse of the code under test and of the trusted job code.
    pub origin: String,
    /// The profile that it runs under.
    pub profile: String,
    /// The Environment that it deploys to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Which apply was the last when it was signed.
    pub policy_revision: u64,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The job does not declare the audience.
    #[error("the job declares no id_tokens for the audience {0:?}")]
    Audience(String),
    /// A job asked for it while the run went on.
    #[error("a job that was triggered without being declared has no identity")]
    Triggered,
    /// The profile does not allow it.
    #[error("the profile {0} allows no identity tokens")]
    Profile(String),
    /// The profile does not say that it allows it to just anybody's code.
    #[error("the profile {profile} does not say `identity: true`, which code from {origin} needs")]
    Origin {
        /// The profile.
        profile: String,
        /// Where the code comes from.
        origin: &'static str,
    },
    /// The lease is over.
    #[error("the lease is over")]
    Over,
}

/// What a token says that a job asks for.
pub fn claims(asked: Asked<'_>) -> Result<Claims, Refusal> {
    let Asked { assignment, origins, now, .. } = asked;
    let job = &assignment.job;
    if assignment.triggered {
        return Err(Refusal::Triggered);
    }
    if !job.id_tokens.values().any(|token| token.audience == asked.audience) {
        return Err(Refusal::Audience(asked.audience.to_owned()));
    }
    let origin = worse(origins.source, origins.ci);
    for profile in profiles(&asked)? {
        allows(&profile, origin)?;
    }
    let until = asked.lease_until.min(now.saturating_add(LONGEST_MS));
    if until <= now {
        return Err(Refusal::Over);
    }
    let text = |name: &str| assignment.event[name].as_str().filter(|text| !text.is_empty());
    let event = text("type").unwrap_or("manual").to_owned();
    let reference = match (text("tag"), text("branch")) {
        (Some(tag), _) => Some(format!("refs/tags/{tag}")),
        (None, Some(branch)) => Some(format!("refs/heads/{branch}")),
        (None, None) => None,
    };
    let declared = assignment.node.split('[').next().unwrap_or_default().to_owned();
    Ok(Claims {
        iss: asked.issuer.to_owned(),
        aud: asked.audience.to_owned(),
        sub: subject(asked.pipeline, &declared, origin, &event, reference.as_deref()),
        exp: until / 1000,
        nbf: now / 1000 - SKEW,
        iat: now / 1000,
        jti: asked.id,
        project: asked.pipeline.project.clone(),
        pipeline: asked.pipeline.name.clone(),
        job: declared,
        node: assignment.node.clone(),
        run_id: assignment.run.clone(),
        attempt: assignment.attempt,
        event,
        reference,
        sha: text("sha").map(str::to_owned),
        origin: origin.as_str().to_owned(),
        profile: assignment.profile.name.clone(),
        environment: job.deploys_to.clone(),
        policy_revision: asked.policy_revision,
    })
}

/// The profile of the job as the run has it, as it and what bounds it are applied now.
fn profiles(asked: &Asked<'_>) -> Result<Vec<Profile>, Refusal> {
    let own = &asked.assignment.profile;
    let mut all = vec![own.clone()];
    let ceiling = asked.assignment.event["ceiling"].as_str();
    let declared = asked.assignment.job.profile.as_deref();
    for name in [Some(own.name.as_str()), declared, ceiling].into_iter().flatten() {
        let address = Address::new(Kind::ExecutionProfile, None, name);
        let declared = match asked.catalog.get(&address).map(|resource| &resource.spec) {
            Some(Spec::ExecutionProfile(spec)) => Some(&**spec),
            _ => None,
        };
        // One that is gone allows nothing.
        all.push(Profile::find(name, declared).ok_or_else(|| Refusal::Profile(name.to_owned()))?);
    }
    Ok(all)
}

/// Anybody's code gets a token only where the profile says so in as many words.
fn allows(Profile { name, spec }: &Profile, origin: Origin) -> Result<(), Refusal> {
    let ExecutionProfileSpec { identity, .. } = spec;
    match origin {
        _ if !spec.allows_identity() => Err(Refusal::Profile(name.clone())),
        Origin::Fork | Origin::Unverified if *identity != Some(true) => {
            Err(Refusal::Origin { profile: name.clone(), origin: origin.as_str() })
        }
        _ => Ok(()),
    }
}

fn worse(one: Origin, other: Origin) -> Origin {
    let badness = |origin: &Origin| match origin {
        Origin::Base => 0,
        Origin::Head => 1,
        Origin::Fork => 2,
        Origin::Unverified => 3,
    };
    if badness(&one) >= badness(&other) { one } else { other }
}

/// Clouds often look at nothing else, so it says a branch or tag only of code that is known to be of it.
fn subject(pipeline: &Address, job: &str, origin: Origin, event: &str, reference: Option<&str>) -> String {
    let project = pipeline.project.as_deref().unwrap_or("-");
    let mut subject = format!("project:{project}:pipeline:{}:job:{}", pipeline.name, escaped(job));
    let is_proposal = event == EventType::PullRequest.as_str();
    match reference {
        Some(reference) if origin == Origin::Base && !is_proposal => {
            subject.extend([":ref:", &escaped(reference)]);
        }
        _ => subject.extend([":event:", &escaped(event), ":origin:", origin.as_str()]),
    }
    subject
}

/// Text in which no `:` can be taken for a border, and which has no byte that is not printable.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b":%".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
