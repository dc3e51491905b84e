//! Who a token stands for, and whether they may do what they ask for. Whatever is not allowed is denied.

use serde::Serialize;

use super::{
    Account, Bindings, Capability, Grant, Held, Known, Principal, Scope, Subject, TokenId, TokenText,
};
use crate::config::Role;
use crate::scheduler::Millis;

/// Somebody who showed a token that works: nobody else becomes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who they are.
    pub principal: Principal,
    /// What they are called, in reasons and in the audit log: `user:ada`, `job:1/RUN/NODE`.
    pub name: String,
    /// The token that they showed.
    pub token: TokenId,
    /// Until when it works.
    pub expires_at: Option<Millis>,
    /// What it takes away from what they may.
    pub scope: Scope,
    /// What they may.
    pub authority: Authority,
}

/// Where what somebody may do comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// A user who may do all that users may.
    Superuser,
    /// Roles of the applied configuration.
    Roles(Vec<Grant>),
    /// A job, on its own run.
    Job {
        /// The run.
        run: String,
    },
    /// A worker.
    Worker,
}

/// Why a token is not let in. What it says may be shown to whoever presented it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none with this id and secret. Which of both is wrong is not said.
    #[error("the token is not known")]
    Unknown,
    /// It was revoked.
    #[error("the token is revoked")]
    Revoked,
    /// Its time is over.
    #[error("the token is expired")]
    Expired,
    /// Its principal was removed.
    #[error("whom the token belongs to is no more")]
    Gone,
    /// Its principal is disabled.
    #[error("{0} is disabled")]
    Disabled(Subject),
}

/// Turns what somebody presents into a caller. `known` is what is stored under the id of the token.
pub fn identify(
    presented: &TokenText,
    known: Option<&Known>,
    bindings: &Bindings,
    now: Millis,
) -> Result<Caller, Refusal> {
    let known = known.filter(|known| known.token.id == *presented.id() && known.hash == presented.hash());
    let Known { token, account, teams, .. } = known.ok_or(Refusal::Unknown)?;
    // Only who knows the secret learns what became of the token.
    if token.revoked_at.is_some() {
        return Err(Refusal::Revoked);
    }
    if !token.is_live(now) {
        return Err(Refusal::Expired);
    }
    let account = account.as_ref().filter(|account| account.principal() == token.principal);
    if account.is_none() && token.principal.is_account() {
        return Err(Refusal::Gone);
    }
    if let Some(account) = account.filter(|account| account.disabled_at().is_some()) {
        return Err(Refusal::Disabled(account.subject()));
    }
    let authority = match (&token.principal, account) {
        (_, Some(Account::User(user))) if user.superuser => Authority::Superuser,
        (_, Some(account)) => {
            let teams = if matches!(account, Account::User(_)) { teams.as_slice() } else { &[] };
            let team = |name: &String| Subject { kind: super::AccountKind::Team, name: name.clone() };
            let subjects = std::iter::once(account.subject()).chain(teams.iter().map(team));
            Authority::Roles(subjects.flat_map(|subject| bindings.to(&subject).to_vec()).collect())
        }
        (Principal::Job(job), None) => Authority::Job { run: job.run.clone() },
        (Principal::Worker(_), None) => Authority::Worker,
        (Principal::User(_) | Principal::Team(_) | Principal::Service(_), None) => return Err(Refusal::Gone),
    };
    Ok(Caller {
        principal: token.principal.clone(),
        name: account.map_or_else(|| token.principal.to_string(), |account| account.subject().to_string()),
        token: token.id.clone(),
        expires_at: token.expires_at,
        scope: token.scope.clone(),
        authority,
    })
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// What.
    pub capability: Capability,
    /// In which project; `None` is the workspace with all its projects.
    pub project: Option<&'a str>,
    /// In which run. Only what a job may is asked for a run.
    pub run: Option<&'a str>,
}

impl<'a> Need<'a> {
    /// In the whole workspace.
    pub fn workspace(capability: Capability) -> Self {
        Self { capability, project: None, run: None }
    }

    /// In one project.
    pub fn project(capability: Capability, project: &'a str) -> Self {
        Self { capability, project: Some(project), run: None }
    }

    /// In one run, for its jobs.
    pub fn run(capability: Capability, run: &'a str) -> Self {
        Self { capability, project: None, run: Some(run) }
    }
}

/// An answer, with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "decision", content = "reason")]
pub enum Decision {
    /// Yes.
    Allowed(String),
    /// No.
    Denied(String),
}

impl Decision {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The reason, a sentence for people without its full stop.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allowed(reason) | Self::Denied(reason) => reason,
        }
    }

    /// This answer if it is a no, else another.
    fn and(self, then: impl FnOnce() -> Self) -> Self {
        if self.is_allowed() { then() } else { self }
    }
}

/// Whether a caller may do something.
pub fn decide(caller: &Caller, need: Need<'_>) -> Decision {
    match narrowed(caller, need) {
        Some(reason) => Decision::Denied(reason),
        None => authorised(caller, need),
    }
}

/// Why the scope of the token takes it away, if it does.
fn narrowed(caller: &Caller, Need { capability, project, .. }: Need<'_>) -> Option<String> {
    let Scope { capabilities, project: only } = &caller.scope;
    if let Some(capabilities) = capabilities
        && !capabilities.contains(&capability)
    {
        return Some(format!("the scope of the token does not have {capability}"));
    }
    // What is asked for a run is narrower than any project, and met by that run alone.
    let only = only.as_deref().filter(|_| capability.held() != Held::ByJobs)?;
    let is_of_workspace = matches!(capability.held(), Held::InWorkspace(_) | Held::ByAll);
    match project.filter(|_| !is_of_workspace) {
        Some(project) if project == only => None,
        Some(project) => {
            Some(format!("the token is for project {only} alone, and this is project {project}"))
        }
        None => Some(format!(
            "the token is for project {only} alone, and {capability} was asked for the workspace"
        )),
    }
}

fn authorised(caller: &Caller, need: Need<'_>) -> Decision {
    let Caller { name, authority, .. } = caller;
    let Need { capability, project, run } = need;
    let denied = |why: String| Decision::Denied(why);
    match (capability.held(), authority) {
        (Held::ByJobs, Authority::Job { run: own }) => match run {
            Some(run) if run == own => Decision::Allowed(format!("{name} is a job of this run")),
            Some(run) => denied(format!("{name} is a job of another run than {run}")),
            None => denied(format!("{capability} is asked for a run, and none is named")),
        },
        (Held::ByJobs, _) => denied(format!("{capability} is for jobs, and {name} is none")),
        (Held::ByWorkers, Authority::Worker) => Decision::Allowed(format!("{name} is a worker")),
        (Held::ByWorkers, _) => denied(format!("{capability} is for workers, and {name} is none")),
        (_, Authority::Job { .. }) => denied(format!("{name} is a job, and {capability} is not for jobs")),
        (_, Authority::Worker) => denied(format!("{name} is a worker, and {capability} is not for workers")),
        (Held::ByAll, _) => Decision::Allowed(format!("{name} may do this for itself")),
        (Held::InProject(_) | Held::InWorkspace(_), Authority::Superuser) => {
            Decision::Allowed(format!("{name} is a superuser"))
        }
        (Held::InProject(least), Authority::Roles(grants)) => {
            by_role(name, grants, capability, least, project)
        }
        (Held::InWorkspace(least), Authority::Roles(grants)) => {
            by_role(name, grants, capability, least, None)
        }
    }
}

/// Whether one of the grants is high enough and in the right place.
fn by_role(
    name: &str,
    grants: &[Grant],
    capability: Capability,
    least: Role,
    project: Option<&str>,
) -> Decision {
    let is_here = |grant: &&Grant| grant.project.is_none() || grant.project.as_deref() == project;
    let place = |project: Option<&str>| {
        project.map_or_else(|| "the workspace".to_owned(), |project| format!("project {project}"))
    };
    let here = grants.iter().filter(is_here);
    let Some(best) = here.max_by_key(|grant| grant.role) else {
        return Decision::Denied(format!("{name} has no role on {}", place(project)));
    };
    let through = if best.subject == name { String::new() } else { format!(" through {}", best.subject) };
    let has = format!(
        "{name} has {} on {}{through} by RoleBinding/{}",
        word(best.role),
        place(best.project.as_deref()),
        best.binding
    );
    if best.role >= least {
        Decision::Allowed(has)
    } else {
        Decision::Denied(format!("{has}, and {capability} needs {}", word(least)))
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Read => "read",
        Role::Write => "write",
        Role::Admin => "admin",
    }
}

/// Whether a caller may issue a token: to itself, no more than the one that was shown may and for no longer; to others
/// with `tokens.admin`; to workers with `workers.admin`; to superusers only as one. Nobody issues tokens to jobs: the
/// server does when it leases them.
pub fn may_issue(
    caller: &Caller,
    to: &Principal,
    to_superuser: bool,
    scope: &Scope,
    expires_at: Option<Millis>,
) -> Decision {
    let capability = match to {
        Principal::Job(_) => {
            return Decision::Denied("tokens of jobs are issued with their lease".to_owned());
        }
        to if *to == caller.principal => Capability::TokensSelf,
        Principal::Worker(_) => Capability::WorkersAdmin,
        _ => Capability::TokensAdmin,
    };
    decide(caller, Need::workspace(capability))
        .and(|| if to_superuser { as_superuser(caller) } else { Decision::Allowed(String::new()) })
        .and(|| {
            let is_worker = matches!(to, Principal::Worker(_));
            if !is_worker && !scope.is_within(&caller.scope) {
                return Decision::Denied("a token cannot give more than the one that asks for it".to_owned());
            }
            let outlives = match (expires_at, caller.expires_at) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(new), Some(own)) => new > own,
            };
            if *to == caller.principal && outlives {
                return Decision::Denied(
                    "a token cannot live longer than the one that asks for it".to_owned(),
                );
            }
            Decision::Allowed(format!("{} may issue it", caller.name))
        })
}

/// Whether a caller may create, change or remove an account: with `users.admin`, and what was or becomes a superuser
/// only as one.
pub fn may_change(caller: &Caller, before: Option<&Account>, after: Option<&Account>) -> Decision {
    let is_superuser = |account: &&Account| matches!(account, Account::User(user) if user.superuser);
    let touches = before.filter(is_superuser).is_some() || after.filter(is_superuser).is_some();
    let decision = decide(caller, Need::workspace(Capability::UsersAdmin));
    if touches { decision.and(|| as_superuser(caller)) } else { decision }
}

/// Whether a caller is a superuser whose token takes nothing away.
fn as_superuser(caller: &Caller) -> Decision {
    if caller.authority == Authority::Superuser && caller.scope == Scope::default() {
        Decision::Allowed(format!("{} is a superuser", caller.name))
    } else {
        Decision::Denied("only a superuser with a token for everything may do this to a superuser".to_owned())
    }
}

#[cfg(test)]
mod tests;
