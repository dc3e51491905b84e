//! Accounts and tokens in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{
    Account, AccountKind, IdentityError, IdentityStore, Known, MAX_TOKENS, NewToken, Principal, Token,
    TokenFilter, TokenId, User,
};
use crate::scheduler::Millis;

/// Accounts and tokens in memory.
#[derive(Debug, Default)]
pub struct MemoryIdentities {
    held: Mutex<Held>,
}

#[derive(Debug, Default, Clone)]
struct Held {
    accounts: BTreeMap<Principal, Account>,
    tokens: BTreeMap<TokenId, NewToken>,
}

impl MemoryIdentities {
    /// Does all of it or, where it fails, nothing.
    fn with<T>(&self, work: impl FnOnce(&mut Held) -> Result<T, IdentityError>) -> Result<T, IdentityError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = held.clone();
        let done = work(&mut next)?;
        *held = next;
        Ok(done)
    }
}

impl Held {
    fn check(&self, account: &Account) -> Result<(), IdentityError> {
        let id = account.principal();
        let others = || self.accounts.values().filter(|other| other.principal() != id);
        let (kind, name) = (account.kind(), account.name());
        if others().any(|other| other.kind() == kind && other.name() == name) {
            return Err(IdentityError::NameTaken { kind, name: name.to_owned() });
        }
        if let Some(key) = account.email_key()
            && others().any(|other| other.email_key().as_ref() == Some(&key))
        {
            return Err(IdentityError::EmailTaken(key));
        }
        if let Account::Team(team) = account {
            let is_there = |id: &&super::UserId| self.accounts.contains_key(&Principal::User((*id).clone()));
            if let Some(missing) = team.members.iter().find(|id| !is_there(id)) {
                return Err(IdentityError::NoSuchMember(missing.clone()));
            }
        }
        Ok(())
    }

    fn create(&mut self, account: &Account) -> Result<(), IdentityError> {
        self.check(account)?;
        self.accounts.insert(account.principal(), account.clone().with_version(1));
        Ok(())
    }

    fn add_token(&mut self, new: &NewToken) -> Result<(), IdentityError> {
        let principal = &new.token.principal;
        if principal.is_account() && !self.accounts.contains_key(principal) {
            return Err(IdentityError::NoSuchAccount(principal.clone()));
        }
        let of_it = self.tokens.values().filter(|held| held.token.principal == *principal);
        if of_it.filter(|held| held.token.is_live(new.token.created_at)).count() >= MAX_TOKENS as usize {
            return Err(IdentityError::TooManyTokens { principal: principal.clone(), limit: MAX_TOKENS });
        }
        self.tokens.insert(new.token.id.clone(), new.clone());
        Ok(())
    }

    fn revoke_all(&mut self, principal: &Principal, at: Millis) -> u64 {
        let of_it = self.tokens.values_mut().map(|held| &mut held.token);
        let open = of_it.filter(|token| token.principal == *principal && token.revoked_at.is_none());
        open.map(|token| token.revoked_at = Some(at)).count() as u64
    }
}

#[async_trait]
impl IdentityStore for MemoryIdentities {
    async fn bootstrap(&self, user: &User, token: &NewToken) -> Result<bool, IdentityError> {
        self.with(|held| {
            if !held.accounts.is_empty() {
                return Ok(false);
            }
            held.create(&Account::User(user.clone()))?;
            held.add_token(token)?;
            Ok(true)
        })
    }

    async fn create(&self, account: &Account) -> Result<(), IdentityError> {
        self.with(|held| held.create(account))
    }

    async fn change(&self, account: &Account) -> Result<(), IdentityError> {
        self.with(|held| {
            let id = account.principal();
            match held.accounts.get(&id) {
                None => return Err(IdentityError::NoSuchAccount(id)),
                Some(before) if before.version() != account.version() => {
                    return Err(IdentityError::Moved(id));
                }
                Some(_) => {}
            }
            held.check(account)?;
            held.accounts.insert(id, account.clone().with_version(account.version() + 1));
            Ok(())
        })
    }

    async fn remove(&self, account: &Principal, at: Millis) -> Result<bool, IdentityError> {
        self.with(|held| {
            if held.accounts.remove(account).is_none() {
                return Ok(false);
            }
            held.revoke_all(account, at);
            if let Principal::User(user) = account {
                for account in held.accounts.values_mut() {
                    if let Account::Team(team) = account
                        && team.members.remove(user)
                    {
                        team.version += 1;
                    }
                }
            }
            Ok(true)
        })
    }

    async fn account(&self, id: &Principal) -> Result<Option<Account>, IdentityError> {
        self.with(|held| Ok(held.accounts.get(id).cloned()))
    }

    async fn named(&self, kind: AccountKind, name: &str) -> Result<Option<Account>, IdentityError> {
        let is_it = |account: &&Account| account.kind() == kind && account.name() == name;
        self.with(|held| Ok(held.accounts.values().find(is_it).cloned()))
    }

    async fn accounts(
        &self,
        kind: AccountKind,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, IdentityError> {
        self.with(|held| {
            let of_kind = held.accounts.values().filter(|account| account.kind() == kind);
            let follow = of_kind.filter(|account| after.is_none_or(|after| account.name() > after));
            let mut found: Vec<Account> = follow.cloned().collect();
            found.sort_by(|one, other| one.name().cmp(other.name()));
            found.truncate(limit as usize);
            Ok(found)
        })
    }

    async fn create_tokens(&self, tokens: &[NewToken]) -> Result<(), IdentityError> {
        self.with(|held| tokens.iter().try_for_each(|token| held.add_token(token)))
    }

    async fn token(&self, id: &TokenId) -> Result<Option<Known>, IdentityError> {
        self.with(|held| {
            let Some(NewToken { token, hash }) = held.tokens.get(id).cloned() else { return Ok(None) };
            let account = held.accounts.get(&token.principal).cloned();
            let mut teams = Vec::new();
            if let Principal::User(user) = &token.principal {
                for account in held.accounts.values() {
                    if let Account::Team(team) = account
                        && team.disabled_at.is_none()
                        && team.members.contains(user)
                    {
                        teams.push(team.name.clone());
                    }
                }
            }
            teams.sort();
            Ok(Some(Known { token, hash, account, teams }))
        })
    }

    async fn tokens(&self, filter: &TokenFilter, limit: u32) -> Result<Vec<Token>, IdentityError> {
        let TokenFilter { principal, live_at, with_jobs, after } = filter;
        let is_wanted = |token: &&Token| {
            principal.as_ref().is_none_or(|principal| token.principal == *principal)
                && live_at.is_none_or(|at| token.is_live(at))
                && (*with_jobs || principal.is_some() || !matches!(token.principal, Principal::Job(_)))
                && after.as_ref().is_none_or(|after| token.id > *after)
        };
        self.with(|held| {
            let all = held.tokens.values().map(|held| &held.token);
            Ok(all.filter(is_wanted).take(limit as usize).cloned().collect())
        })
    }

    async fn revoke(&self, id: &TokenId, at: Millis) -> Result<bool, IdentityError> {
        self.with(|held| {
            let Some(held) = held.tokens.get_mut(id) else { return Ok(false) };
            held.token.revoked_at.get_or_insert(at);
            Ok(true)
        })
    }

    async fn revoke_all(&self, principal: &Principal, at: Millis) -> Result<u64, IdentityError> {
        self.with(|held| Ok(held.revoke_all(principal, at)))
    }

    async fn note_use(&self, id: &TokenId, at: Millis) -> Result<(), IdentityError> {
        self.with(|held| {
            if let Some(held) = held.tokens.get_mut(id).filter(|held| held.token.should_note_use(at)) {
                held.token.last_used_at = Some(at);
            }
            Ok(())
        })
    }

    async fn forget_tokens(&self, ended_before: Millis) -> Result<u64, IdentityError> {
        self.with(|held| {
            let before = held.tokens.len();
            let ended = |at: Option<Millis>| at.is_some_and(|at| at < ended_before);
            held.tokens.retain(|_, held| !ended(held.token.revoked_at) && !ended(held.token.expires_at));
            Ok((before - held.tokens.len()) as u64)
        })
    }
}
