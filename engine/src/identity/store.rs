//! Where accounts and tokens are kept.

use async_trait::async_trait;

use super::{Account, AccountKind, NewToken, Principal, SecretHash, Token, TokenId, User};
use crate::scheduler::Millis;
use crate::store::StoreError;

/// What is stored under a token's id, all that [`identify`](super::identify) asks for, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The token.
    pub token: Token,
    /// What its secret is known by.
    pub hash: SecretHash,
    /// The account that it belongs to. `None` for jobs and workers, and where the account was removed.
    pub account: Option<Account>,
    /// The names of the teams that the user is in and that are not disabled, sorted.
    pub teams: Vec<String>,
}

/// Which tokens to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Only those of this principal.
    pub principal: Option<Principal>,
    /// Only those that work at this time.
    pub live_at: Option<Millis>,
    /// Those of jobs too. They are left out otherwise: there is one for each attempt.
    pub with_jobs: bool,
    /// Only those that follow this id.
    pub after: Option<TokenId>,
}

/// Why something about identities cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another account of the kind has the name.
    #[error("there is a {} {name:?} already", kind.word())]
    NameTaken {
        /// The kind.
        kind: AccountKind,
        /// The name.
        name: String,
    },
    /// Another user has the address.
    #[error("another user has the e-mail address {0:?}")]
    EmailTaken(String),
    /// A member of the team is no user, or no more.
    #[error("there is no user with the id {0}")]
    NoSuchMember(super::UserId),
    /// The account does not exist, or does so no more.
    #[error("there is no {0}")]
    NoSuchAccount(Principal),
    /// Somebody changed the account since it was read.
    #[error("{0} was changed meanwhile")]
    Moved(Principal),
    /// The principal has as many tokens that work as it may have.
    #[error("{principal} has {limit} tokens that work, and cannot have more")]
    TooManyTokens {
        /// The principal.
        principal: Principal,
        /// [`MAX_TOKENS`](super::MAX_TOKENS).
        limit: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps accounts and tokens. Any number of servers use one at once; each method is one transaction, and has happened
/// for everybody when it returns.
#[async_trait]
pub trait IdentityStore: Send + Sync {
    /// Adds the first user of a workspace, with their token, if there is no account yet. Whether it did: of any number
    /// that try at once, one does.
    async fn bootstrap(&self, user: &User, token: &NewToken) -> Result<bool, IdentityError>;

    /// Adds an account. It gets version 1, whatever it says.
    async fn create(&self, account: &Account) -> Result<(), IdentityError>;

    /// Changes an account, name and members included, if its version is still the one that it says. The version grows
    /// by one.
    async fn change(&self, account: &Account) -> Result<(), IdentityError>;

    /// Removes an account: a user leaves all teams, and its tokens are revoked. The name can be given again. Whether it
    /// was there.
    async fn remove(&self, account: &Principal, at: Millis) -> Result<bool, IdentityError>;

    /// An account by its id. `None` for what is none.
    async fn account(&self, id: &Principal) -> Result<Option<Account>, IdentityError>;

    /// An account by its name.
    async fn named(&self, kind: AccountKind, name: &str) -> Result<Option<Account>, IdentityError>;

    /// Accounts of a kind by name, those after a name, at most `limit`.
    async fn accounts(
        &self,
        kind: AccountKind,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, IdentityError>;

    /// Adds tokens, all or none. A principal that is an account must exist. Those of one principal that work when the
    /// newest of them is made are at most [`MAX_TOKENS`](super::MAX_TOKENS), however many servers add some at once.
    async fn create_tokens(&self, tokens: &[NewToken]) -> Result<(), IdentityError>;

    /// What is known of a token, whether it works or not.
    async fn token(&self, id: &TokenId) -> Result<Option<Known>, IdentityError>;

    /// Tokens by id, at most `limit`.
    async fn tokens(&self, filter: &TokenFilter, limit: u32) -> Result<Vec<Token>, IdentityError>;

    /// Revokes a token; the first time stands. Whether there is one.
    async fn revoke(&self, id: &TokenId, at: Millis) -> Result<bool, IdentityError>;

    /// Revokes all tokens of a principal that are not; how many.
    async fn revoke_all(&self, principal: &Principal, at: Millis) -> Result<u64, IdentityError>;

    /// Remembers that a token was used, if nothing was remembered for [`USE_NOTED_EVERY`](super::USE_NOTED_EVERY). Ask
    /// [`Token::should_note_use`] first, which costs nothing. A token that is not there is no error.
    async fn note_use(&self, id: &TokenId, at: Millis) -> Result<(), IdentityError>;

    /// Forgets tokens that were revoked or expired before a time; how many. Do it for a time long ago, so that people
    /// can see for a while what was.
    async fn forget_tokens(&self, ended_before: Millis) -> Result<u64, IdentityError>;
}
