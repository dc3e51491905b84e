//! Who is let in, and what they may do there: every combination against what is documented.

use super::super::*;
use super::*;
use crate::config::{Catalog, Metadata, Resource, RoleBindingSpec, Spec};

const PROJECT: &str = "web";

fn catalog(bindings: &[(&str, Role, Option<&str>)]) -> Bindings {
    let mut catalog = Catalog::default();
    for (number, (subject, role, project)) in bindings.iter().enumerate() {
        let spec = RoleBindingSpec {
            role: *role,
            project: project.map(str::to_owned),
            subjects: vec![(*subject).to_owned()],
        };
        let metadata = Metadata { name: format!("binding-{number}"), ..Metadata::default() };
        let resource = Resource { metadata, spec: Spec::RoleBinding(Box::new(spec)) };
        catalog.insert(resource.address(), resource.into());
    }
    Bindings::of(&catalog)
}

fn text() -> TokenText {
    TokenText::new(uuid::Uuid::from_u128(42), [3; 32])
}

fn ada() -> User {
    User {
        id: UserId("u1".into()),
        username: "ada".into(),
        email: None,
        superuser: false,
        version: 1,
        created_at: 0,
        disabled_at: None,
    }
}

fn known(principal: Principal, account: Option<Account>) -> Known {
    let token = Token {
        id: text().id().clone(),
        principal,
        name: "laptop".into(),
        scope: Scope::default(),
        created_at: 0,
        expires_at: Some(1_000),
        last_used_at: None,
        revoked_at: None,
    };
    Known { token, hash: text().hash(), account, teams: vec![] }
}

fn known_account(account: Account) -> Known {
    known(account.principal(), Some(account))
}

fn known_job() -> Known {
    known(Principal::Job(JobAttempt { run: "r1".into(), node: "build".into(), attempt: 1 }), None)
}

fn let_in(known: &Known, bindings: &Bindings) -> Caller {
    identify(&text(), Some(known), bindings, 10).expect("it is let in")
}

fn scope(capabilities: Option<&[Capability]>, project: Option<&str>) -> Scope {
    Scope {
        capabilities: capabilities.map(|list| list.iter().copied().collect()),
        project: project.map(str::to_owned),
    }
}

/// Where a role is: nowhere, on the project that is asked for, on another, on the workspace.
const PLACES: [Option<Option<&str>>; 4] = [None, Some(Some(PROJECT)), Some(Some("api")), Some(None)];

/// What the documentation says, written once more without the code that it tests.
fn expected(held: Held, superuser: bool, role: Option<(Role, Option<&str>)>, asked: Option<&str>) -> bool {
    match held {
        Held::ByWorkers | Held::ByJobs => false,
        Held::ByAll => true,
        _ if superuser => true,
        Held::InProject(least) => match role {
            None => false,
            Some((role, None)) => role >= least,
            Some((role, Some(project))) => role >= least && asked == Some(project),
        },
        Held::InWorkspace(least) => matches!(role, Some((role, None)) if role >= least),
    }
}

/// Role x place x capability x what is asked for x capabilities of the scope x project of the scope x superuser.
#[test]
fn every_combination_is_decided_as_documented() {
    let mut decided = 0;
    for role in [Role::Read, Role::Write, Role::Admin] {
        for place in PLACES {
            for superuser in [false, true] {
                let given = place.map(|project| ("user:ada", role, project));
                let bindings = catalog(given.as_slice());
                let mut known = known_account(Account::User(User { superuser, ..ada() }));
                for &capability in Capability::ALL {
                    let other = if capability == Capability::RunsRead {
                        Capability::LogsRead
                    } else {
                        Capability::RunsRead
                    };
                    let capabilities: [Option<&[Capability]>; 4] =
                        [None, Some(&[]), Some(&[capability]), Some(&[other])];
                    for (set, only) in capabilities
                        .into_iter()
                        .flat_map(|set| [None, Some(PROJECT), Some("api")].map(|only| (set, only)))
                    {
                        known.token.scope = scope(set, only);
                        let caller = let_in(&known, &bindings);
                        for asked in [None, Some(PROJECT), Some("other")] {
                            let need = Need { capability, project: asked, run: None };
                            let by_role =
                                expected(capability.held(), superuser, place.map(|at| (role, at)), asked);
                            let in_set = set.is_none_or(|set| set.contains(&capability));
                            let is_of_project = matches!(capability.held(), Held::InProject(_));
                            let in_project = only.is_none() || (is_of_project && only == asked);
                            let decision = decide(&caller, need);
                            assert_eq!(
                                decision.is_allowed(),
                                by_role && in_set && in_project,
                                "{role:?} on {place:?}, superuser {superuser}, {:?}, {need:?}: {decision:?}",
                                known.token.scope
                            );
                            assert!(!decision.reason().is_empty());
                            decided += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(decided, 3 * 4 * 2 * Capability::ALL.len() * 12 * 3);
}

/// Each way in which a token or its account is of no use, for each kind of principal.
#[test]
fn only_what_works_is_let_in() {
    let service = ServiceAccount {
        id: ServiceAccountId("s1".into()),
        name: "bot".into(),
        version: 1,
        created_at: 0,
        disabled_at: None,
    };
    let team = Team {
        id: TeamId("t1".into()),
        name: "core".into(),
        members: Default::default(),
        version: 1,
        created_at: 0,
        disabled_at: None,
    };
    let worker = known(Principal::Worker(WorkerId("w1".into())), None);
    let accounts = [Account::User(ada()), Account::Service(service), Account::Team(team)];
    let all: Vec<Known> = accounts.into_iter().map(known_account).chain([known_job(), worker]).collect();
    let bindings = Bindings::default();
    for good in all {
        assert!(identify(&text(), Some(&good), &bindings, 999).is_ok());
        let refusal =
            |known: &Known, now| identify(&text(), Some(known), &bindings, now).expect_err("refused");
        assert_eq!(refusal(&good, 1_000), Refusal::Expired);
        let revoked = Token { revoked_at: Some(2_000), ..good.token.clone() };
        assert_eq!(refusal(&Known { token: revoked, ..good.clone() }, 10), Refusal::Revoked);
        let hash = TokenText::new(uuid::Uuid::from_u128(42), [4; 32]).hash();
        assert_eq!(refusal(&Known { hash, ..good.clone() }, 1_000), Refusal::Unknown, "it says no more");
        let other = Token { id: TokenId("f".into()), ..good.token.clone() };
        assert_eq!(refusal(&Known { token: other, ..good.clone() }, 10), Refusal::Unknown);
        if let Some(account) = &good.account {
            let gone = Known { account: None, ..good.clone() };
            assert_eq!(refusal(&gone, 10), Refusal::Gone);
            let mut disabled = account.clone();
            match &mut disabled {
                Account::User(user) => (user.disabled_at, user.superuser) = (Some(2_000), true),
                Account::Team(team) => team.disabled_at = Some(2_000),
                Account::Service(service) => service.disabled_at = Some(2_000),
            }
            let subject = account.subject();
            let disabled = Known { account: Some(disabled), ..good.clone() };
            assert_eq!(refusal(&disabled, 10), Refusal::Disabled(subject));
            // An account that is not the token's is none.
            let foreign = Account::User(User { id: UserId("u9".into()), superuser: true, ..ada() });
            assert_eq!(refusal(&Known { account: Some(foreign), ..good.clone() }, 10), Refusal::Gone);
        }
    }
    assert_eq!(identify(&text(), None, &bindings, 10), Err(Refusal::Unknown));
}

#[test]
fn a_job_may_ask_and_report_for_its_own_run_alone() {
    let bindings = catalog(&[("user:job", Role::Admin, None)]);
    let mut known = known_job();
    // Its token is for its project; its run is within.
    known.token.scope.project = Some(PROJECT.into());
    let caller = let_in(&known, &bindings);
    assert_eq!(caller.name, "job:1/r1/build");
    for &capability in Capability::ALL {
        for need in [
            Need::workspace(capability),
            Need::project(capability, PROJECT),
            Need::run(capability, "r1"),
            Need { project: Some(PROJECT), ..Need::run(capability, "r1") },
            Need::run(capability, "r2"),
        ] {
            let may = capability.held() == Held::ByJobs && need.run == Some("r1");
            assert_eq!(decide(&caller, need).is_allowed(), may, "{need:?}");
        }
    }
    known.token.scope.capabilities = Some([Capability::JobAsk].into());
    let caller = let_in(&known, &bindings);
    assert!(decide(&caller, Need::run(Capability::JobAsk, "r1")).is_allowed());
    assert!(!decide(&caller, Need::run(Capability::JobReport, "r1")).is_allowed());
}

#[test]
fn a_worker_may_lease_and_nothing_else() {
    let mut known = known(Principal::Worker(WorkerId("w1".into())), None);
    let caller = let_in(&known, &Bindings::default());
    for &capability in Capability::ALL {
        for need in
            [Need::workspace(capability), Need::project(capability, PROJECT), Need::run(capability, "w1")]
        {
            assert_eq!(decide(&caller, need).is_allowed(), capability == Capability::JobsLease, "{need:?}");
        }
    }
    known.token.scope.project = Some(PROJECT.into());
    let caller = let_in(&known, &Bindings::default());
    assert!(decide(&caller, Need::project(Capability::JobsLease, PROJECT)).is_allowed());
    assert!(!decide(&caller, Need::project(Capability::JobsLease, "api")).is_allowed());
    assert!(!decide(&caller, Need::workspace(Capability::JobsLease)).is_allowed());
}

#[test]
fn a_reason_says_through_what() {
    let bindings = catalog(&[
        ("user:ada", Role::Read, None),
        ("team:core", Role::Write, Some(PROJECT)),
        ("team:other", Role::Admin, None),
        ("user:core", Role::Admin, None),
        ("service:ada", Role::Admin, None),
    ]);
    let known = Known { teams: vec!["core".into()], ..known_account(Account::User(ada())) };
    let caller = let_in(&known, &bindings);
    let reason = |need| decide(&caller, need).reason().to_owned();
    assert_eq!(
        reason(Need::project(Capability::RunsStart, PROJECT)),
        "user:ada has write on project web through team:core by RoleBinding/binding-1"
    );
    assert_eq!(
        reason(Need::project(Capability::RunsStart, "api")),
        "user:ada has read on the workspace by RoleBinding/binding-0, and runs.start needs write"
    );
    assert_eq!(
        reason(Need::project(Capability::JobAsk, PROJECT)),
        "job.ask is for jobs, and user:ada is none"
    );
    let mut narrow = caller.clone();
    narrow.scope = scope(Some(&[Capability::LogsRead]), Some(PROJECT));
    let reason = |need| decide(&narrow, need).reason().to_owned();
    assert_eq!(
        reason(Need::project(Capability::RunsRead, PROJECT)),
        "the scope of the token does not have runs.read"
    );
    assert_eq!(
        reason(Need::project(Capability::LogsRead, "api")),
        "the token is for project web alone, and this is project api"
    );
    assert_eq!(
        reason(Need::workspace(Capability::LogsRead)),
        "the token is for project web alone, and logs.read was asked for the workspace"
    );
}

#[test]
fn a_team_and_a_service_account_have_their_own_roles() {
    let bindings = catalog(&[("team:core", Role::Admin, None), ("token:bot", Role::Write, Some(PROJECT))]);
    let team = Team {
        id: TeamId("t1".into()),
        name: "core".into(),
        members: Default::default(),
        version: 1,
        created_at: 0,
        disabled_at: None,
    };
    let caller = let_in(&known_account(Account::Team(team)), &bindings);
    assert!(decide(&caller, Need::workspace(Capability::ConfigApply)).is_allowed());
    let bot = ServiceAccount {
        id: ServiceAccountId("s1".into()),
        name: "bot".into(),
        version: 1,
        created_at: 0,
        disabled_at: None,
    };
    // A service account is in no team, whatever a store says.
    let known = Known { teams: vec!["core".into()], ..known_account(Account::Service(bot)) };
    let caller = let_in(&known, &bindings);
    assert!(decide(&caller, Need::project(Capability::RunsStart, PROJECT)).is_allowed());
    assert!(!decide(&caller, Need::workspace(Capability::ConfigApply)).is_allowed());
    // The name of a token gives nothing.
    let known = Known {
        token: Token { name: "bot".into(), ..known.token.clone() },
        ..known_account(Account::User(ada()))
    };
    let known = Known {
        token: Token { principal: Principal::User(UserId("u1".into())), ..known.token.clone() },
        ..known
    };
    let caller = let_in(&known, &bindings);
    assert!(!decide(&caller, Need::project(Capability::RunsStart, PROJECT)).is_allowed());
}

#[test]
fn nobody_issues_more_than_they_have() {
    let admins = catalog(&[("user:ada", Role::Admin, None)]);
    let own = Principal::User(UserId("u1".into()));
    let other = Principal::Service(ServiceAccountId("s1".into()));
    let worker = Principal::Worker(WorkerId("w1".into()));
    let all = Scope::default();
    let mut known = known_account(Account::User(ada()));
    let may = |known: &Known, bindings: &Bindings, to: &Principal, scope: &Scope, expires_at| {
        may_issue(&let_in(known, bindings), to, false, scope, expires_at).is_allowed()
    };
    let nobody = Bindings::default();
    assert!(may(&known, &nobody, &own, &all, Some(1_000)));
    assert!(!may(&known, &nobody, &own, &all, Some(1_001)), "it would live longer");
    assert!(!may(&known, &nobody, &own, &all, None), "it would live for ever");
    assert!(!may(&known, &nobody, &other, &all, Some(1)));
    assert!(!may(&known, &nobody, &worker, &all, Some(1)));
    assert!(may(&known, &admins, &other, &all, None));
    assert!(may(&known, &admins, &worker, &all, None));
    assert!(!may(&known, &admins, &known_job().token.principal, &all, Some(1)));
    known.token.scope =
        scope(Some(&[Capability::TokensSelf, Capability::TokensAdmin, Capability::RunsRead]), None);
    assert!(!may(&known, &admins, &own, &all, Some(1)));
    assert!(!may(&known, &admins, &other, &all, Some(1)));
    assert!(may(&known, &admins, &own, &scope(Some(&[Capability::RunsRead]), Some(PROJECT)), Some(1)));
    assert!(!may(&known, &admins, &own, &scope(Some(&[Capability::LogsRead]), None), Some(1)));
    assert!(!may(&known, &admins, &worker, &all, Some(1)));
    known.token.scope = scope(None, Some(PROJECT));
    assert!(!may(&known, &admins, &own, &scope(None, Some(PROJECT)), Some(1)), "a workspace's need");
}

#[test]
fn only_superusers_touch_superusers() {
    let admins = catalog(&[("user:ada", Role::Admin, None)]);
    let plain = Account::User(ada());
    let root = Account::User(User { superuser: true, ..ada() });
    let admin = let_in(&known_account(plain.clone()), &admins);
    let nobody = let_in(&known_account(plain.clone()), &Bindings::default());
    let mut known = known_account(root.clone());
    let superuser = let_in(&known, &Bindings::default());
    known.token.scope = scope(Some(&[Capability::UsersAdmin, Capability::TokensAdmin]), None);
    let narrow = let_in(&known, &Bindings::default());
    for (caller, of_plain, of_root) in
        [(&nobody, false, false), (&admin, true, false), (&narrow, true, false), (&superuser, true, true)]
    {
        for (before, after, may) in [
            (None, Some(&plain), of_plain),
            (Some(&plain), None, of_plain),
            (Some(&plain), Some(&plain), of_plain),
            (Some(&plain), Some(&root), of_root),
            (Some(&root), Some(&plain), of_root),
            (Some(&root), None, of_root),
            (None, Some(&root), of_root),
        ] {
            assert_eq!(
                may_change(caller, before, after).is_allowed(),
                may,
                "{caller:?} {before:?} {after:?}"
            );
        }
        let other = Principal::User(UserId("u2".into()));
        let issued = may_issue(caller, &other, true, &caller.scope, Some(1));
        assert_eq!(issued.is_allowed(), of_root, "{issued:?}");
    }
}
