//! What a signed webhook says: an event of some system, or one of a forge, with the repositories that it is about.

use reactorcide_engine::config::{EventType, PullRequestAction, Role};
use reactorcide_engine::policy::Actor;
use reactorcide_engine::proposal::{Side, Told};
use reactorcide_engine::trigger_match::RunEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Problem;
use crate::api::events::EventData;
use crate::api::problem::{commit_id, within};

/// What is signed. A program that has no forge's events to pass on says nothing of repositories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("additionalProperties" = false))]
pub struct HookEvent {
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: HookWord,
    /// For `push` and `tag`: the address of the repository. Of the project's own, the commit is one that its branch or tag has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub repository: Option<String>,
    /// For `pull_request`: what is proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// Who did it: who pushed, or who did something to the pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<HookSender>,
    /// Whether more files are changed than `changed_files` lists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed_files_truncated: bool,
    /// What it is about. For a pull request, `branch` is what it would be merged into, and `sha` is told by its head.
    #[serde(flatten)]
    pub data: EventData,
}

/// The types of events that are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookWord {
    /// Something elsewhere happened.
    #[default]
    Webhook,
    /// Commits arrived on a branch.
    Push,
    /// A tag was created.
    Tag,
    /// A pull request was opened or changed.
    PullRequest,
}

impl From<HookWord> for EventType {
    fn from(word: HookWord) -> Self {
        match word {
            HookWord::Webhook => Self::Webhook,
            HookWord::Push => Self::Push,
            HookWord::Tag => Self::Tag,
            HookWord::PullRequest => Self::PullRequest,
        }
    }
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// Its number.
    #[schemars(range(min = 1))]
    pub number: u64,
    /// What was done to it. Absent: it has new commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<PullRequestAction>,
    /// Whose it is: who opened it, whoever does something to it later.
    pub author: HookSender,
    /// Where it is proposed from.
    pub head: PullRequestSide,
    /// What it would be merged into.
    pub base: PullRequestSide,
}

/// One side of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PullRequestSide {
    /// The address of the repository.
    #[schemars(length(min = 1, max = 1000))]
    pub repository: String,
    /// The commit: a whole id.
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub sha: String,
}

/// Who did something, as whoever signs knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSender {
    /// The name at the forge.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 200))]
    pub user: String,
    /// Teams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub teams: Vec<String>,
    /// What they may do in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether nothing of theirs was merged before. Absent: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_time: Option<bool>,
}

impl HookSender {
    fn actor(self, field: &str) -> Result<Actor, Problem> {
        let Self { user, teams, role, first_time } = self;
        within(field, Some(&user), 0, 200)?;
        Ok(Actor { user, teams, role, first_time })
    }
}

/// What an event of a forge tells of repositories. Nothing for one that is no forge's.
pub(super) fn told(
    event: &mut RunEvent,
    repository: Option<String>,
    pull_request: Option<PullRequest>,
    sender: Option<HookSender>,
    changes_more: bool,
) -> Result<Option<Told>, Problem> {
    let refused = |detail: &str| Err(Problem::unprocessable(detail));
    let actor = sender.map(|sender| sender.actor("sender.user")).transpose()?;
    match (event.kind, pull_request) {
        (EventType::Webhook, None) if repository.is_none() => Ok(None),
        (EventType::Webhook, _) => {
            refused("an event about a repository has the type push, tag or pull_request")
        }
        (EventType::PullRequest, Some(PullRequest { number, action, author, head, base })) => {
            within("pull_request.author.user", Some(&author.user), 1, 200)?;
            let author = Some(author.actor("pull_request.author.user")?);
            if repository.is_some() {
                return refused("a pull request names its repositories in head and base");
            }
            if !event.sha.is_empty() && event.sha != head.sha {
                return refused("sha is another commit than that of the head");
            }
            if event.branch.is_empty() {
                return refused("a pull request tells the branch that it would be merged into");
            }
            for side in [&head, &base] {
                within("repository", Some(&side.repository), 1, 1000)?;
                commit_id("sha", Some(&side.sha))?;
            }
            event.sha.clone_from(&head.sha);
            let action = action.unwrap_or(PullRequestAction::Synchronize);
            event.action = serde_json::to_value(action)
                .ok()
                .and_then(|word| Some(word.as_str()?.to_owned()))
                .unwrap_or_default();
            let side = |side: PullRequestSide| Side { repository: side.repository, sha: side.sha };
            let base = Some(side(base));
            Ok(Some(Told { head: side(head), base, number, actor, author, changes_more }))
        }
        (EventType::PullRequest, None) => refused("there is no pull_request"),
        (_, Some(_)) => refused("only an event of the type pull_request has one"),
        (_, None) => {
            let Some(repository) = repository else {
                return refused("a push or a tag tells the repository that it happened in");
            };
            within("repository", Some(&repository), 1, 1000)?;
            let head = Side { repository, sha: event.sha.clone() };
            Ok(Some(Told { head, actor, changes_more, ..Told::default() }))
        }
    }
}
