//! What every store of identities must do, as checks that run over any implementation.
//!
//! Each check takes an empty store and panics where it does not keep the contract of [`IdentityStore`].

use std::sync::Arc;

use super::{
    Account, AccountKind, Capability, IdentityError, IdentityStore, JobAttempt, MAX_TOKENS, NewToken,
    Principal, Scope, ServiceAccount, ServiceAccountId, Team, TeamId, Token, TokenFilter, TokenText, User,
    UserId, WorkerId,
};
use crate::scheduler::Millis;

fn user(id: &str, name: &str) -> User {
    User {
        id: UserId(id.to_owned()),
        username: name.to_owned(),
        email: None,
        superuser: false,
        version: 1,
        created_at: 5,
        disabled_at: None,
    }
}

fn team(id: &str, name: &str, members: &[&str]) -> Team {
    Team {
        id: TeamId(id.to_owned()),
        name: name.to_owned(),
        members: members.iter().map(|&id| UserId(id.to_owned())).collect(),
        version: 1,
        created_at: 6,
        disabled_at: None,
    }
}

fn service(id: &str, name: &str) -> ServiceAccount {
    let id = ServiceAccountId(id.to_owned());
    ServiceAccount { id, name: name.to_owned(), version: 1, created_at: 7, disabled_at: None }
}

fn of_user(id: &str) -> Principal {
    Principal::User(UserId(id.to_owned()))
}

fn job(node: &str) -> Principal {
    Principal::Job(JobAttempt { run: "r1".to_owned(), node: node.to_owned(), attempt: 1 })
}

/// A token made at a time, whose number is also its place in the order.
fn token(number: u32, principal: Principal, created_at: Millis) -> NewToken {
    let text = TokenText::new(uuid::Uuid::from_u128(number.into()), [7; 32]);
    let token = Token {
        id: text.id().clone(),
        principal,
        name: format!("token {number}"),
        scope: Scope::default(),
        created_at,
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    NewToken { token, hash: text.hash() }
}

async fn add(store: &dyn IdentityStore, accounts: impl IntoIterator<Item = Account>) {
    for account in accounts {
        store.create(&account).await.expect("it is added");
    }
}

/// Accounts read back as they were written, by id, by name and in pages by name.
pub async fn accounts_are_read_back(store: &dyn IdentityStore) {
    let ada = User { email: Some("Ada@example.com".to_owned()), superuser: true, ..user("u1", "ada") };
    let accounts = [
        Account::User(ada),
        Account::User(User { disabled_at: Some(9), ..user("u2", "bob") }),
        Account::User(user("u3", "a-b")),
        Account::Team(team("t1", "core", &["u1", "u3"])),
        // Kinds have names and ids of their own.
        Account::Team(team("u1", "ada", &[])),
        Account::Service(service("u1", "ada")),
    ];
    add(store, accounts.clone()).await;
    for account in &accounts {
        assert_eq!(store.account(&account.principal()).await.expect("an answer").as_ref(), Some(account));
        let named = store.named(account.kind(), account.name()).await.expect("an answer");
        assert_eq!(named.as_ref(), Some(account));
    }
    assert_eq!(store.account(&of_user("nobody")).await.expect("an answer"), None);
    assert_eq!(store.account(&job("build")).await.expect("an answer"), None);
    assert_eq!(store.named(AccountKind::User, "core").await.expect("an answer"), None);
    let page = |after: Option<&'static str>, limit| async move {
        let found = store.accounts(AccountKind::User, after, limit).await.expect("a page");
        found.iter().map(|account| account.name().to_owned()).collect::<Vec<_>>()
    };
    // By the bytes of the name, wherever it is stored.
    assert_eq!(page(None, 10).await, ["a-b", "ada", "bob"]);
    assert_eq!(page(None, 2).await, ["a-b", "ada"]);
    assert_eq!(page(Some("ada"), 2).await, ["bob"]);
    let teams = store.accounts(AccountKind::Team, None, 10).await.expect("a page");
    assert_eq!(teams, [accounts[4].clone(), accounts[3].clone()]);
}

/// Names are unique in their kind, addresses whatever their case, and members are users.
pub async fn what_is_taken_is_refused(store: &dyn IdentityStore) {
    let ada = User { email: Some("ada@example.com".to_owned()), ..user("u1", "ada") };
    add(
        store,
        [Account::User(ada), Account::User(user("u2", "bob")), Account::Team(team("t1", "core", &[]))],
    )
    .await;
    let refused = |account: Account| async move { store.create(&account).await.expect_err("it is refused") };
    let error = refused(Account::User(user("u9", "ada"))).await;
    assert!(
        matches!(&error, IdentityError::NameTaken { kind: AccountKind::User, name } if name == "ada"),
        "{error}"
    );
    let same = User { email: Some("ADA@example.com".to_owned()), ..user("u9", "eve") };
    let error = refused(Account::User(same.clone())).await;
    assert!(matches!(error, IdentityError::EmailTaken(_)), "{error}");
    let error = refused(Account::Team(team("t9", "other", &["u1", "u9"]))).await;
    assert!(matches!(&error, IdentityError::NoSuchMember(id) if id.0 == "u9"), "{error}");
    // Nothing of it was written.
    assert_eq!(store.named(AccountKind::Team, "other").await.expect("an answer"), None);
    let changed = User { id: UserId("u2".to_owned()), username: "bob".to_owned(), ..same };
    let error = store.change(&Account::User(changed)).await.expect_err("it is refused");
    assert!(matches!(error, IdentityError::EmailTaken(_)), "{error}");
    let error = store.change(&Account::User(user("u2", "ada"))).await.expect_err("it is refused");
    assert!(matches!(error, IdentityError::NameTaken { .. }), "{error}");
    let error = store.change(&Account::User(user("u9", "eve"))).await.expect_err("it is refused");
    assert!(matches!(error, IdentityError::NoSuchAccount(_)), "{error}");
    let error = store.create_tokens(&[token(1, of_user("u9"), 1)]).await.expect_err("it is refused");
    assert!(matches!(error, IdentityError::NoSuchAccount(_)), "{error}");
}

/// A change is made from the newest version, or not at all.
pub async fn a_change_does_not_undo_another(store: &dyn IdentityStore) {
    add(store, [Account::User(user("u1", "ada")), Account::User(user("u2", "bob"))]).await;
    add(store, [Account::Team(team("t1", "core", &["u1"]))]).await;
    store.change(&Account::Team(team("t1", "core", &["u2"]))).await.expect("it is changed");
    let error = store.change(&Account::Team(team("t1", "core", &["u1"]))).await.expect_err("it moved");
    assert!(matches!(error, IdentityError::Moved(_)), "{error}");
    let expected = Team { version: 2, ..team("t1", "core", &["u2"]) };
    let found = store.named(AccountKind::Team, "core").await.expect("an answer");
    assert_eq!(found, Some(Account::Team(expected.clone())));
    let renamed = Team { name: "kernel".to_owned(), disabled_at: Some(8), ..expected };
    store.change(&Account::Team(renamed.clone())).await.expect("it is changed");
    let found = store.named(AccountKind::Team, "kernel").await.expect("an answer");
    assert_eq!(found, Some(Account::Team(Team { version: 3, ..renamed })));
    let changed =
        User { email: Some("a@b".to_owned()), superuser: true, disabled_at: Some(9), ..user("u1", "ada") };
    store.change(&Account::User(changed.clone())).await.expect("it is changed");
    let found = store.account(&of_user("u1")).await.expect("an answer");
    assert_eq!(found, Some(Account::User(User { version: 2, ..changed })));
    // The address is free again when it is given up.
    store.change(&Account::User(User { version: 2, ..user("u1", "ada") })).await.expect("it is changed");
    let other = User { email: Some("A@B".to_owned()), ..user("u2", "bob") };
    store.change(&Account::User(other)).await.expect("it is changed");
}

/// What is removed leaves its teams, its tokens are revoked, and its name is free.
pub async fn what_is_removed_opens_nothing(store: &dyn IdentityStore) {
    add(store, [Account::User(user("u1", "ada")), Account::User(user("u2", "bob"))]).await;
    add(store, [Account::Team(team("t1", "core", &["u1", "u2"])), Account::Service(service("s1", "bot"))])
        .await;
    let mut first = token(1, of_user("u1"), 1);
    first.token.revoked_at = Some(3);
    let tokens = [first, token(2, of_user("u1"), 1), token(3, of_user("u2"), 1)];
    store.create_tokens(&tokens).await.expect("they are added");
    assert!(store.remove(&of_user("u1"), 10).await.expect("it is removed"));
    assert!(!store.remove(&of_user("u1"), 11).await.expect("it is no error"));
    assert!(!store.remove(&job("build"), 11).await.expect("it is no error"));
    let known = store.token(&tokens[1].token.id).await.expect("an answer").expect("it is still known");
    assert_eq!((known.account, known.token.revoked_at), (None, Some(10)));
    let earlier = store.token(&tokens[0].token.id).await.expect("an answer").expect("it is still known");
    assert_eq!(earlier.token.revoked_at, Some(3));
    let other = store.token(&tokens[2].token.id).await.expect("an answer").expect("it is known");
    assert_eq!(other.token.revoked_at, None);
    let found = store.named(AccountKind::Team, "core").await.expect("an answer");
    // A change that was made from the team with both would bring the user back.
    assert_eq!(found, Some(Account::Team(Team { version: 2, ..team("t1", "core", &["u2"]) })));
    assert!(store.remove(&Principal::Team(TeamId("t1".to_owned())), 12).await.expect("it is removed"));
    assert!(
        store
            .remove(&Principal::Service(ServiceAccountId("s1".to_owned())), 12)
            .await
            .expect("it is removed")
    );
    let other = store.token(&tokens[2].token.id).await.expect("an answer").expect("it is known");
    assert_eq!(other.teams, Vec::<String>::new());
    add(store, [Account::User(user("u9", "ada")), Account::Team(team("t9", "core", &["u9"]))]).await;
}

/// A token reads back with all that decides about it.
pub async fn a_token_is_known_with_its_account(store: &dyn IdentityStore) {
    add(store, [Account::User(user("u1", "ada")), Account::Service(service("s1", "bot"))]).await;
    add(
        store,
        [
            Account::Team(team("t1", "web", &["u1"])),
            Account::Team(team("t2", "core", &["u1"])),
            Account::Team(Team { disabled_at: Some(1), ..team("t3", "old", &["u1"]) }),
            Account::Team(team("t4", "other", &[])),
        ],
    )
    .await;
    let capabilities = [Capability::RunsRead, Capability::LogsRead].into_iter().collect();
    let mut narrow = token(2, Principal::Service(ServiceAccountId("s1".to_owned())), 3);
    narrow.token.scope = Scope { capabilities: Some(capabilities), project: Some("web".to_owned()) };
    narrow.token.expires_at = Some(99);
    let mut empty = token(3, job("build[a/b]"), 4);
    empty.token.scope.capabilities = Some(Default::default());
    let worker = token(4, Principal::Worker(WorkerId("w1".to_owned())), 5);
    let team_of = token(5, Principal::Team(TeamId("t1".to_owned())), 5);
    let all = [token(1, of_user("u1"), 2), narrow, empty, worker, team_of];
    store.create_tokens(&all).await.expect("they are added");
    for new in &all {
        let known = store.token(&new.token.id).await.expect("an answer").expect("it is known");
        assert_eq!((&known.token, &known.hash), (&new.token, &new.hash));
        let account = store.account(&new.token.principal).await.expect("an answer");
        assert_eq!(known.account, account);
        let teams: &[&str] = if new.token.principal == of_user("u1") { &["core", "web"] } else { &[] };
        assert_eq!(known.teams, teams);
    }
    let nothing = token(9, of_user("u1"), 2).token.id;
    assert_eq!(store.token(&nothing).await.expect("an answer"), None);
}

/// Tokens are listed by id, filtered, revoked once and forgotten when they ended long ago.
pub async fn tokens_come_and_go(store: &dyn IdentityStore) {
    add(store, [Account::User(user("u1", "ada")), Account::User(user("u2", "bob"))]).await;
    let mut expiring = token(2, of_user("u1"), 1);
    expiring.token.expires_at = Some(50);
    let all = [token(1, of_user("u1"), 1), expiring, token(3, of_user("u2"), 1), token(4, job("build"), 1)];
    store.create_tokens(&all).await.expect("they are added");
    let ids = all.clone().map(|new| new.token.id);
    let list = |filter: TokenFilter, limit: u32| {
        let ids = &ids;
        async move {
            let found = store.tokens(&filter, limit).await.expect("a list");
            let number = |token: &Token| ids.iter().position(|id| *id == token.id).expect("ours") + 1;
            found.iter().map(number).collect::<Vec<_>>()
        }
    };
    let any = TokenFilter::default;
    let of = |principal| TokenFilter { principal: Some(principal), ..any() };
    assert_eq!(list(any(), 10).await, [1, 2, 3]);
    assert_eq!(list(TokenFilter { with_jobs: true, ..any() }, 10).await, [1, 2, 3, 4]);
    assert_eq!(list(any(), 2).await, [1, 2]);
    assert_eq!(list(TokenFilter { after: Some(ids[1].clone()), ..any() }, 2).await, [3]);
    assert_eq!(list(of(of_user("u1")), 10).await, [1, 2]);
    assert_eq!(list(of(job("build")), 10).await, [4]);
    assert_eq!(list(of(job("test")), 10).await, [0; 0]);
    assert!(store.revoke(&ids[0], 20).await.expect("it is revoked"));
    assert!(store.revoke(&ids[0], 30).await.expect("it is no error"));
    assert!(!store.revoke(&token(9, job("x"), 1).token.id, 30).await.expect("it is no error"));
    let first = store.token(&ids[0]).await.expect("an answer").expect("it is known");
    assert_eq!(first.token.revoked_at, Some(20));
    let live = |at| TokenFilter { live_at: Some(at), ..any() };
    assert_eq!(list(live(49), 10).await, [2, 3]);
    assert_eq!(list(live(50), 10).await, [3]);
    assert_eq!(store.revoke_all(&job("build"), 40).await.expect("they are revoked"), 1);
    assert_eq!(store.revoke_all(&job("build"), 41).await.expect("they are revoked"), 0);
    assert_eq!(store.forget_tokens(20).await.expect("they are forgotten"), 0);
    assert_eq!(store.forget_tokens(51).await.expect("they are forgotten"), 3);
    assert_eq!(list(TokenFilter { with_jobs: true, ..any() }, 10).await, [3]);
}

/// That a token is used is written at most once a minute, and never goes back.
pub async fn a_use_is_noted_once_a_minute(store: &dyn IdentityStore) {
    add(store, [Account::User(user("u1", "ada"))]).await;
    let new = token(1, of_user("u1"), 1);
    store.create_tokens(std::slice::from_ref(&new)).await.expect("it is added");
    for (at, noted) in
        [(1_000, 1_000), (1_001, 1_000), (60_999, 1_000), (61_000, 61_000), (5, 61_000), (200_000, 200_000)]
    {
        store.note_use(&new.token.id, at).await.expect("it is noted");
        let known = store.token(&new.token.id).await.expect("an answer").expect("it is known");
        assert_eq!(known.token.last_used_at, Some(noted), "at {at}");
    }
    store.note_use(&token(9, job("x"), 1).token.id, 1).await.expect("it is no error");
}

/// One that has as many tokens as it may gets no more, until one of them ends; all or none are added.
pub async fn tokens_of_one_are_bounded(store: &dyn IdentityStore) {
    add(store, [Account::User(user("u1", "ada")), Account::User(user("u2", "bob"))]).await;
    let mut all: Vec<NewToken> = (0..MAX_TOKENS).map(|n| token(n, of_user("u1"), 1)).collect();
    all[0].token.expires_at = Some(10);
    let surplus = token(MAX_TOKENS, of_user("u1"), 5);
    let too_many: Vec<NewToken> = all.iter().chain([&surplus]).cloned().collect();
    let error = store.create_tokens(&too_many).await.expect_err("they are too many");
    assert!(matches!(error, IdentityError::TooManyTokens { limit: MAX_TOKENS, .. }), "{error}");
    assert_eq!(store.tokens(&TokenFilter::default(), 1).await.expect("a list"), []);
    store.create_tokens(&all).await.expect("they are added");
    let error = store.create_tokens(std::slice::from_ref(&surplus)).await.expect_err("it is too much");
    assert!(matches!(error, IdentityError::TooManyTokens { .. }), "{error}");
    store.create_tokens(&[token(500, of_user("u2"), 5)]).await.expect("another may");
    // The first one expired.
    store.create_tokens(&[token(501, of_user("u1"), 10)]).await.expect("there is room");
    store.revoke(&all[1].token.id, 11).await.expect("it is revoked");
    store.create_tokens(&[token(502, of_user("u1"), 11)]).await.expect("there is room");
    let error = store.create_tokens(&[token(503, of_user("u1"), 11)]).await.expect_err("it is too much");
    assert!(matches!(error, IdentityError::TooManyTokens { .. }), "{error}");
}

/// The first user is added once, and never where there is somebody.
pub async fn the_first_user_is_added_once(store: &dyn IdentityStore) {
    let first = User { superuser: true, ..user("u1", "admin") };
    assert!(store.bootstrap(&first, &token(1, of_user("u1"), 1)).await.expect("it is added"));
    let second = User { superuser: true, ..user("u2", "other") };
    let again = token(2, of_user("u2"), 1);
    assert!(!store.bootstrap(&second, &again).await.expect("it is no error"));
    assert_eq!(store.token(&again.token.id).await.expect("an answer"), None);
    let users = store.accounts(AccountKind::User, None, 10).await.expect("a page");
    assert_eq!(users, [Account::User(first)]);
    let known = store.token(&token(1, of_user("u1"), 1).token.id).await.expect("an answer");
    assert!(known.is_some_and(|known| known.account == Some(users[0].clone())));
}

/// Servers at once: one bootstraps, and together they make no more tokens than one may have. `stores` are over the same
/// place.
pub async fn servers_at_once_agree(stores: Vec<Arc<dyn IdentityStore>>) {
    let starts = stores.iter().enumerate().map(|(n, store)| {
        let id = format!("u{n}");
        let first = User { superuser: true, ..user(&id, &id) };
        async move {
            let token = token(u32::try_from(n).expect("few"), of_user(&id), 1);
            store.bootstrap(&first, &token).await.expect("an answer")
        }
    });
    let done = futures_util::future::join_all(starts).await;
    assert_eq!(done.iter().filter(|&&done| done).count(), 1);
    add(&*stores[0], [Account::User(user("ada", "ada"))]).await;
    let tries = (0..MAX_TOKENS + 8).map(|n| {
        let store = &stores[n as usize % stores.len()];
        async move { store.create_tokens(&[token(1_000 + n, of_user("ada"), 1)]).await.is_ok() }
    });
    let made = futures_util::future::join_all(tries).await.into_iter().filter(|&made| made).count();
    assert_eq!(made, MAX_TOKENS as usize);
}

/// Users that are removed while teams take them in and tokens are made for them: nothing fails but for that, and then no
/// team has a member who is gone, and nobody who is gone has a token that works. `stores` are over the same place.
pub async fn removals_at_once_leave_nothing(stores: Vec<Arc<dyn IdentityStore>>) {
    const USERS: u32 = 12;
    let id = |n: u32| format!("u{n:02}");
    let store = |n: u32| &stores[n as usize % stores.len()];
    for n in 0..USERS {
        add(&**store(n), [Account::User(user(&id(n), &id(n)))]).await;
    }
    let everybody: Vec<String> = (0..USERS).map(id).collect();
    let everybody: Vec<&str> = everybody.iter().map(String::as_str).collect();
    let removals = (0..USERS).step_by(2).map(|n| async move {
        assert!(store(n).remove(&of_user(&id(n)), 10).await.expect("it is removed"));
    });
    let tokens = (0..USERS).map(|n| async move {
        match store(n + 1)
            .create_tokens(&[token(n, of_user(&id(n)), 1), token(100 + n, of_user(&id(USERS - 1 - n)), 1)])
            .await
        {
            Ok(()) | Err(IdentityError::NoSuchAccount(_)) => {}
            Err(error) => panic!("{error}"),
        }
    });
    let everybody = &everybody;
    let teams = (0..6).map(|n| async move {
        let name = format!("t{n}");
        match store(n).create(&Account::Team(team(&name, &name, everybody))).await {
            Ok(()) | Err(IdentityError::NoSuchMember(_)) => {}
            Err(error) => panic!("{error}"),
        }
        add(&**store(n), [Account::Team(team(&format!("{name}-later"), &format!("{name}-later"), &[]))])
            .await;
        let later = team(&format!("{name}-later"), &name, &["u01", "u00"]);
        match store(n + 1).change(&Account::Team(later)).await {
            Ok(()) | Err(IdentityError::NoSuchMember(_) | IdentityError::NameTaken { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    });
    let (removals, tokens, teams) = (
        futures_util::future::join_all(removals),
        futures_util::future::join_all(tokens),
        futures_util::future::join_all(teams),
    );
    futures_util::join!(removals, tokens, teams);
    let users = store(0).accounts(AccountKind::User, None, 100).await.expect("a page");
    assert_eq!(users.len(), USERS as usize / 2);
    let is_there = |id: &UserId| users.iter().any(|user| user.principal() == Principal::User(id.clone()));
    for found in store(0).accounts(AccountKind::Team, None, 100).await.expect("a page") {
        let Account::Team(found) = found else { panic!("{found:?} is a team") };
        assert!(found.members.iter().all(is_there), "{found:?}");
    }
    let live = TokenFilter { live_at: Some(20), ..TokenFilter::default() };
    for token in store(0).tokens(&live, 1_000).await.expect("a list") {
        assert!(matches!(&token.principal, Principal::User(id) if is_there(id)), "{token:?}");
    }
}
