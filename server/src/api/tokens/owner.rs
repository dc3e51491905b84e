//! Whom tokens belong to, by the names that people use.

use std::collections::BTreeMap;

use reactorcide_engine::identity::{
    Account, AccountKind, Capability, Principal, Token, WorkerId, check_name,
};

use super::super::Problem;
use super::super::accounts::named;
use super::super::context::Context;
use super::TokenRow;
use super::wire::CapabilityWord;

/// What somebody needs to see, make or revoke the tokens of somebody.
pub fn capability_over(context: &Context, owner: &Principal) -> Capability {
    match owner {
        owner if *owner == context.caller.principal => Capability::TokensSelf,
        Principal::Worker(_) => Capability::WorkersAdmin,
        _ => Capability::TokensAdmin,
    }
}

/// The owner that a request names; without a name it is who asks. Who may not have tokens of others does not learn whether
/// somebody is there.
pub async fn owner_of(
    context: &Context,
    owner: Option<&str>,
) -> Result<(Principal, Option<Account>), Problem> {
    let own = &context.caller.principal;
    let Some(owner) = owner.filter(|owner| *owner != "me" && *owner != context.caller.name) else {
        context.may(Capability::TokensSelf, None)?;
        return Ok((own.clone(), context.api.identities.account(own).await?));
    };
    let (kind, name) = owner.split_once(':').ok_or_else(|| no_owner(owner))?;
    let kind = match kind {
        "user" => AccountKind::User,
        "team" => AccountKind::Team,
        "service" => AccountKind::Service,
        "worker" => {
            context.may(Capability::WorkersAdmin, None)?;
            check_name(name).map_err(|error| Problem::unprocessable(error.to_string()))?;
            return Ok((Principal::Worker(WorkerId(name.to_owned())), None));
        }
        _ => return Err(no_owner(owner)),
    };
    context.may(Capability::TokensAdmin, None)?;
    let account = named(context, kind, name).await?;
    Ok((account.principal(), Some(account)))
}

fn no_owner(owner: &str) -> Problem {
    Problem::unprocessable(format!(
        "owner: {owner:?} is none of user:NAME, team:NAME, service:NAME and worker:NAME"
    ))
}

/// Owners' names, each looked up once.
#[derive(Default)]
pub struct Names(BTreeMap<Principal, String>);

impl Names {
    /// A token as people see it.
    pub async fn row(&mut self, context: &Context, token: Token) -> Result<TokenRow, Problem> {
        let owner = self.of(context, &token.principal).await?;
        let capabilities = token.scope.capabilities.map(|all| all.into_iter().map(CapabilityWord).collect());
        Ok(TokenRow {
            id: token.id.0,
            owner,
            owner_id: token.principal.to_string(),
            name: token.name,
            capabilities,
            project: token.scope.project,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        })
    }

    async fn of(&mut self, context: &Context, principal: &Principal) -> Result<String, Problem> {
        if let Some(name) = self.0.get(principal) {
            return Ok(name.clone());
        }
        let account = context.api.identities.account(principal).await?;
        let name = account.map_or_else(|| principal.to_string(), |account| account.subject().to_string());
        self.0.insert(principal.clone(), name.clone());
        Ok(name)
    }
}
