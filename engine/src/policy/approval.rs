//! Approvals: who may give one, and to what exactly.

use crate::scheduler::Admission;

/// Somebody who would approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver<'a> {
    /// Whether it is a person: no program and no job approves anything.
    pub is_person: bool,
    /// By what others may know them: the id, the name, the e-mail address.
    pub names: Vec<&'a str>,
    /// Their teams.
    pub teams: Vec<&'a str>,
}

/// What would be approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval<'a> {
    /// Whose code it is, where that is known.
    pub author: &'a str,
    /// Who brought its commits, where that is known.
    pub pushed_by: &'a str,
    /// Who started the run.
    pub started_by: &'a str,
    /// Who may approve: names, and `team:NAME`. Empty: whoever has the right to in the project.
    pub approvers: &'a [String],
}

/// Why an approval does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// Only people approve.
    #[error("only people approve")]
    NoPerson,
    /// It is their own.
    #[error("nobody approves what is their own")]
    Own,
    /// Others may.
    #[error("{0} may approve it")]
    Others(String),
    /// The commit is another one by now.
    #[error("the run is of the commit {actual}, and the approval is for {approved}")]
    Head {
        /// What the run is of.
        actual: String,
        /// What was approved.
        approved: String,
    },
    /// What decides on the run is not what it was.
    #[error("what was applied when the run was accepted has changed since: nobody saw what it would do now")]
    Policy,
}

/// Whether somebody may approve something. Names are compared without regard to case: whoever may be the author is not
/// another one.
pub fn may_approve(approver: &Approver<'_>, approval: &Approval<'_>) -> Result<(), ApprovalError> {
    if !approver.is_person {
        return Err(ApprovalError::NoPerson);
    }
    let same = |a: &str, b: &str| !a.is_empty() && a.to_lowercase() == b.to_lowercase();
    let is = |who: &str| {
        let who = who.strip_prefix("user:").unwrap_or(who);
        approver.names.iter().any(|name| same(name, who))
    };
    if [approval.author, approval.pushed_by, approval.started_by].into_iter().any(is) {
        return Err(ApprovalError::Own);
    }
    let is_named = |wanted: &String| match wanted.strip_prefix("team:") {
        Some(team) => approver.teams.contains(&team),
        None => approver.names.contains(&wanted.as_str()),
    };
    if approval.approvers.is_empty() || approval.approvers.iter().any(is_named) {
        return Ok(());
    }
    Err(ApprovalError::Others(approval.approvers.join(" or ")))
}

/// Whether an approval is for what a run is: the commit that was looked at, and all that decides on it.
pub fn is_bound(admission: &Admission, head: Option<&str>, policy: &str) -> Result<(), ApprovalError> {
    if let Some(approved) = head.filter(|head| *head != admission.head) {
        return Err(ApprovalError::Head { actual: admission.head.clone(), approved: approved.to_owned() });
    }
    if policy == admission.policy { Ok(()) } else { Err(ApprovalError::Policy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Approver<'static> {
        Approver { is_person: true, names: vec!["u1", "ada", "ada@example.com"], teams: vec!["ops"] }
    }

    #[test]
    fn nobody_approves_their_own_whatever_they_call_themselves() {
        for (author, started_by) in [
            ("ada", "webhook:web"),
            ("Ada", "webhook:web"),
            ("ADA@example.com", ""),
            ("mallory", "user:ada"),
            ("mallory", "user:u1"),
        ] {
            for (author, pushed_by) in [(author, ""), ("mallory", author)] {
                let approval = Approval { author, pushed_by, started_by, approvers: &[] };
                let refused = may_approve(&ada(), &approval);
                assert_eq!(refused, Err(ApprovalError::Own), "{author} {pushed_by} {started_by}");
            }
        }
        let approval = Approval { author: "", pushed_by: "", started_by: "webhook:web", approvers: &[] };
        assert_eq!(may_approve(&ada(), &approval), Ok(()));
        let program = Approver { is_person: false, ..ada() };
        assert_eq!(may_approve(&program, &approval), Err(ApprovalError::NoPerson));
    }

    #[test]
    fn only_those_who_are_named_approve_where_any_are() {
        let may = |approvers: &[&str]| {
            let approvers: Vec<String> = approvers.iter().map(|name| (*name).to_owned()).collect();
            may_approve(
                &ada(),
                &Approval { author: "bob", pushed_by: "", started_by: "", approvers: &approvers },
            )
            .is_ok()
        };
        assert!(may(&["ada"]) && may(&["bob", "team:ops"]) && may(&["ada@example.com"]));
        // A name that looks like a team's, or like somebody's in capitals, is not theirs.
        assert!(!may(&["bob"]) && !may(&["ops"]) && !may(&["team:ada"]) && !may(&["Ada"]));
    }

    #[test]
    fn an_approval_is_for_one_commit_and_one_policy() {
        let admission = Admission {
            author: "mallory".into(),
            pushed_by: String::new(),
            reason: String::new(),
            number: 12,
            head: "aaaa".into(),
            base: "bbbb".into(),
            profile: None,
            policy: "1".into(),
        };
        assert_eq!(is_bound(&admission, Some("aaaa"), "1"), Ok(()));
        assert_eq!(is_bound(&admission, None, "1"), Ok(()));
        assert!(matches!(is_bound(&admission, Some("cccc"), "1"), Err(ApprovalError::Head { .. })));
        assert_eq!(is_bound(&admission, None, "2"), Err(ApprovalError::Policy));
    }
}
