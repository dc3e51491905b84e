//! An event of a repository, as whoever signed it tells of it, and what follows from it: where the code under test is
//! and how far it can be trusted. Where it comes from is told by who the repositories are, and by nothing that it says
//! of itself.

use serde::{Deserialize, Serialize};

use crate::config::{EventType, Origin, Source};
use crate::policy::Actor;
use crate::protocol::source::{Location, Schemes};

/// One side of a pull request, or what was pushed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The address of the repository.
    pub repository: String,
    /// The commit.
    pub sha: String,
}

/// What whoever signed an event tells of the repository that it is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// Where the commit is that the event is about: for a pull request, where it is proposed from.
    pub head: Side,
    /// For a pull request: what it would be merged into.
    pub base: Option<Side>,
    /// The number of the pull request; 0 where it is none.
    pub number: u64,
    /// Who did it, where that is told.
    pub actor: Option<Actor>,
    /// For a pull request: whose it is.
    pub author: Option<Actor>,
    /// Whether more files are changed than the event lists.
    pub changes_more: bool,
}

impl Told {
    /// Everybody who had a part in it.
    pub fn people(&self) -> Vec<Actor> {
        [&self.author, &self.actor].into_iter().flatten().cloned().collect()
    }
}

/// Why nothing can follow from an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// The project has no git repository.
    #[error("the project has no git repository that an event could be about")]
    NoRepository,
    /// It is about another one.
    #[error("the event is about {0:?}, which is not the project's repository")]
    Elsewhere(String),
    /// A pull request without what it would be merged into.
    #[error("a pull request tells its number, its head and its base, each with repository and sha")]
    Incomplete,
    /// The repository of a fork cannot be fetched from.
    #[error("the head of the pull request cannot be fetched: {0}")]
    Head(String),
}

/// Where the code of an event comes from. A signed push or tag says what a branch or a tag of the project's own repository
/// has become. A pull request is one of the repository's own where both its sides are that; a repository that cannot be
/// told from another one is another one.
pub fn origin(project: Option<&Source>, kind: EventType, told: &Told) -> Result<Origin, ProposalError> {
    let own = project.and_then(|source| source.git.as_deref()).ok_or(ProposalError::NoRepository)?;
    let is_own = |side: &Side| identity(own).is_some() && identity(&side.repository) == identity(own);
    let is_proposal = kind == EventType::PullRequest;
    let target = if is_proposal {
        let base = told.base.as_ref().ok_or(ProposalError::Incomplete)?;
        if told.number == 0 || base.sha.is_empty() || told.head.sha.is_empty() {
            return Err(ProposalError::Incomplete);
        }
        base
    } else {
        &told.head
    };
    if !is_own(target) {
        return Err(ProposalError::Elsewhere(target.repository.clone()));
    }
    if !is_proposal {
        return Ok(Origin::Base);
    }
    Location::parse(&told.head.repository, Schemes::Git, is_local(own))
        .map_err(|error| ProposalError::Head(error.to_string()))?;
    Ok(if is_own(&told.head) { Origin::Head } else { Origin::Fork })
}

/// Whether the repository of a project is one of this machine, so that its forks may be too.
fn is_local(address: &str) -> bool {
    matches!(Location::parse(address, Schemes::Git, true), Ok(Location::Local(_)))
}

/// What two addresses of one repository have in common: the machine and the path, however it is reached.
fn identity(address: &str) -> Option<String> {
    let path = |path: &str| path.trim_matches('/').trim_end_matches(".git").trim_end_matches('/').to_owned();
    match Location::parse(address, Schemes::Git, true).ok()? {
        Location::Local(local) => Some(format!("/{}", path(&local.to_string_lossy()))),
        Location::Remote { scheme, host, url } => {
            let (_, behind) = url.split_once("://")?;
            let (_, behind) = behind.split_once('/')?;
            let usual = match scheme.as_str() {
                "https" => ":443",
                "http" => ":80",
                _ => ":22",
            };
            let host = host.to_ascii_lowercase();
            let host = host.strip_suffix(usual).unwrap_or(&host);
            let path = path(behind);
            (!path.is_empty()).then(|| format!("{host}/{path}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn project(git: &str) -> Source {
        serde_json::from_value(serde_json::json!({ "git": git })).expect("a source")
    }

    fn side(repository: &str) -> Side {
        Side { repository: repository.to_owned(), sha: "a".repeat(40) }
    }

    fn proposed(head: &str, base: &str) -> Told {
        Told { head: side(head), base: Some(side(base)), number: 12, ..Told::default() }
    }

    const OWN: &str = "https://git.example.com/team/web.git";

    #[rstest]
    #[case("https://git.example.com/team/web", Origin::Head)]
    #[case("git@git.example.com:team/web.git", Origin::Head)]
    #[case("ssh://git@GIT.example.com/team/web", Origin::Head)]
    #[case("https://git.example.com:443/team/web/", Origin::Head)]
    #[case("https://git.example.com:8443/team/web", Origin::Fork)]
    #[case("https://git.example.com/mallory/web", Origin::Fork)]
    #[case("https://git.example.com/team/web2", Origin::Fork)]
    #[case("https://git.example.com/team/Web", Origin::Fork)]
    #[case("https://git.example.com/team/../team/web", Origin::Fork)]
    #[case("https://git.example.com.evil.example/team/web", Origin::Fork)]
    fn who_the_repositories_are_tells_where_code_comes_from(#[case] head: &str, #[case] expected: Origin) {
        let told = proposed(head, "https://git.example.com/team/web");
        assert_eq!(origin(Some(&project(OWN)), EventType::PullRequest, &told), Ok(expected));
    }

    #[test]
    fn an_event_of_another_repository_is_none_of_the_projects() {
        let told = proposed(OWN, "https://git.example.com/mallory/web");
        let refused = origin(Some(&project(OWN)), EventType::PullRequest, &told);
        assert!(matches!(refused, Err(ProposalError::Elsewhere(_))), "{refused:?}");
        let pushed = Told { head: side("https://git.example.com/mallory/web"), ..Told::default() };
        assert!(origin(Some(&project(OWN)), EventType::Push, &pushed).is_err());
        let pushed = Told { head: side(OWN), ..Told::default() };
        assert_eq!(origin(Some(&project(OWN)), EventType::Push, &pushed), Ok(Origin::Base));
        assert_eq!(origin(None, EventType::Push, &pushed), Err(ProposalError::NoRepository));
    }

    #[test]
    fn a_head_that_would_start_a_program_or_read_this_machine_is_refused() {
        for head in ["ext::sh -c id", "--upload-pack=id", "/etc", "file:///etc", ""] {
            let refused = origin(Some(&project(OWN)), EventType::PullRequest, &proposed(head, OWN));
            assert!(matches!(refused, Err(ProposalError::Head(_))), "{head}: {refused:?}");
        }
    }

    proptest! {
        /// Whatever somebody calls the repository of their pull request: unless it is the project's, it is a fork's.
        #[test]
        fn no_other_address_is_the_projects(host in "[a-z]{1,8}\\.example", path in "[A-Za-z0-9/._-]{1,20}") {
            let head = format!("https://{host}/{path}");
            if let Ok(found) = origin(Some(&project(OWN)), EventType::PullRequest, &proposed(&head, OWN)) {
                prop_assert_eq!(found, Origin::Fork, "{}", head);
            }
        }
    }
}
