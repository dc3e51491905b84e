//! `reactorcide users`, `teams`, `service-accounts` and `whoami`: who there is on a server.

use clap::{Args, Subcommand};
use reactorcide_server::api::{
    ChangeTeam, ChangeUser, CreateTeam, CreateUser, Me, NameServiceAccount, ServiceAccount, Team, TeamDetail,
    User,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::jobs::print;
use super::runs::escape;
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::time;

/// Options of `users`.
#[derive(Debug, Args)]
pub struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// List users
    List(JsonArgs),
    /// Show a user
    Show(OneArgs),
    /// Add a user; what they may comes from RoleBindings
    Create {
        /// Their name: the NAME of `user:NAME` in a RoleBinding
        name: String,
        /// Where to write to them
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// They may do everything, without a RoleBinding
        #[arg(long)]
        superuser: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a user; what is not said stays
    Change {
        /// Their name, or their id
        name: String,
        /// Another name; bindings that name the old one give nothing to the new one
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// Another address; an empty one removes it
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// Whether they may do everything, without a RoleBinding
        #[arg(long, value_name = "BOOL")]
        superuser: Option<bool>,
    },
    /// From now on none of their tokens works
    Disable(NameArgs),
    /// Let a disabled user in again
    Enable(NameArgs),
    /// Remove a user, and revoke their tokens
    Delete(NameArgs),
}

/// Options of `teams`.
#[derive(Debug, Args)]
pub struct TeamsArgs {
    #[command(subcommand)]
    command: TeamsCommand,
}

#[derive(Debug, Subcommand)]
enum TeamsCommand {
    /// List teams
    List(JsonArgs),
    /// Show a team with its members
    Show(OneArgs),
    /// Add a team; what its members may comes from RoleBindings
    Create {
        /// Its name: the NAME of `team:NAME` in a RoleBinding
        name: String,
        /// A user who is in it (may be given several times)
        #[arg(long = "member", value_name = "USER")]
        members: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a team another name; bindings that name the old one give nothing to the new one
    Rename {
        /// Its name, or its id
        name: String,
        /// Its new name
        to: String,
    },
    /// Put a user into a team
    Add(MemberArgs),
    /// Take a user out of a team
    Remove(MemberArgs),
    /// From now on it gives its members nothing
    Disable(NameArgs),
    /// Let a disabled team count again
    Enable(NameArgs),
    /// Remove a team, and revoke its tokens; its members stay
    Delete(NameArgs),
}

/// Options of `service-accounts`.
#[derive(Debug, Args)]
pub struct ServiceAccountsArgs {
    #[command(subcommand)]
    command: ServiceAccountsCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceAccountsCommand {
    /// List service accounts
    List(JsonArgs),
    /// Show a service account
    Show(OneArgs),
    /// Add a service account; what it may comes from RoleBindings
    Create {
        /// Its name: the NAME of `service:NAME` in a RoleBinding
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a service account another name; bindings that name the old one give nothing to the new one
    Rename {
        /// Its name, or its id
        name: String,
        /// Its new name
        to: String,
    },
    /// From now on none of its tokens works
    Disable(NameArgs),
    /// Let a disabled service account in again
    Enable(NameArgs),
    /// Remove a service account, and revoke its tokens
    Delete(NameArgs),
}

#[derive(Debug, Args)]
struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The name, or the id
    name: String,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The name, or the id
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MemberArgs {
    /// The team
    team: String,
    /// The user
    user: String,
}

/// Options of `whoami`.
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    /// In this project [default: in the workspace with all its projects]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A kind of account: where its routes are, and how one looks in a line.
struct Kind<T> {
    path: &'static str,
    line: fn(&T) -> String,
}

const USERS: Kind<User> = Kind { path: "/users", line: user_line };
const TEAMS: Kind<Team> = Kind { path: "/teams", line: team_line };
const SERVICES: Kind<ServiceAccount> = Kind { path: "/service-accounts", line: service_line };

impl<T: Serialize + DeserializeOwned> Kind<T> {
    fn one(&self, name: &str) -> String {
        format!("{}/{}", self.path, escape(name))
    }

    fn shown(&self, account: &T, json: bool) -> Result<Exit, Failure> {
        print([if json { to_json(account) } else { (self.line)(account) }])
    }

    async fn list(&self, client: &Client, json: bool) -> Result<Exit, Failure> {
        let all: Vec<T> = client.all(self.path, &[], usize::MAX).await?;
        print(all.iter().map(|one| if json { to_json(one) } else { (self.line)(one) }))
    }

    async fn show(&self, client: &Client, one: &OneArgs) -> Result<Exit, Failure> {
        self.shown(&client.get(&self.one(&one.name), &[]).await?, one.json)
    }

    async fn create(&self, client: &Client, body: &impl Serialize, json: bool) -> Result<Exit, Failure> {
        self.shown(&client.post(self.path, body).await?, json)
    }

    async fn change(&self, client: &Client, name: &str, body: &impl Serialize) -> Result<Exit, Failure> {
        self.shown(&client.patch(&self.one(name), body).await?, false)
    }

    async fn turn(&self, client: &Client, name: &str, what: &str) -> Result<Exit, Failure> {
        let _: Value = client.post(&format!("{}/{what}", self.one(name)), &json!({})).await?;
        Ok(Exit::Success)
    }

    async fn delete(&self, client: &Client, name: &str) -> Result<Exit, Failure> {
        client.delete(&self.one(name)).await.map(|()| Exit::Success)
    }
}

/// Does what is asked about users.
pub fn users(arguments: &UsersArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        match &arguments.command {
            UsersCommand::List(JsonArgs { json }) => USERS.list(&client, *json).await,
            UsersCommand::Show(one) => USERS.show(&client, one).await,
            UsersCommand::Create { name, email, superuser, json } => {
                let (username, email) = (name.clone(), email.clone());
                USERS.create(&client, &CreateUser { username, email, superuser: *superuser }, *json).await
            }
            UsersCommand::Change { name, rename, email, superuser } => {
                let email = email.clone().map(|email| Some(email).filter(|email| !email.is_empty()));
                let body = ChangeUser { username: rename.clone(), email, superuser: *superuser };
                USERS.change(&client, name, &body).await
            }
            UsersCommand::Disable(NameArgs { name }) => USERS.turn(&client, name, "disable").await,
            UsersCommand::Enable(NameArgs { name }) => USERS.turn(&client, name, "enable").await,
            UsersCommand::Delete(NameArgs { name }) => USERS.delete(&client, name).await,
        }
    })
}

/// Does what is asked about teams.
pub fn teams(arguments: &TeamsArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        let member = |one: &MemberArgs| format!("{}/members/{}", TEAMS.one(&one.team), escape(&one.user));
        match &arguments.command {
            TeamsCommand::List(JsonArgs { json }) => TEAMS.list(&client, *json).await,
            TeamsCommand::Show(OneArgs { name, json }) => {
                let detail: TeamDetail = client.get(&TEAMS.one(name), &[]).await?;
                if *json {
                    return print([to_json(&detail)]);
                }
                let members = detail.members.iter().map(|name| format!("  {}", safe(name)));
                print(std::iter::once(team_line(&detail.team)).chain(members))
            }
            TeamsCommand::Create { name, members, json } => {
                let members = members.iter().cloned().collect();
                TEAMS.create(&client, &CreateTeam { name: name.clone(), members }, *json).await
            }
            TeamsCommand::Rename { name, to } => {
                let body = ChangeTeam { name: Some(to.clone()), ..ChangeTeam::default() };
                TEAMS.change(&client, name, &body).await
            }
            TeamsCommand::Add(one) => client.put(&member(one)).await.map(|()| Exit::Success),
            TeamsCommand::Remove(one) => client.delete(&member(one)).await.map(|()| Exit::Success),
            TeamsCommand::Disable(NameArgs { name }) => TEAMS.turn(&client, name, "disable").await,
            TeamsCommand::Enable(NameArgs { name }) => TEAMS.turn(&client, name, "enable").await,
            TeamsCommand::Delete(NameArgs { name }) => TEAMS.delete(&client, name).await,
        }
    })
}

/// Does what is asked about service accounts.
pub fn service_accounts(arguments: &ServiceAccountsArgs, settings: &Settings) -> Result<Exit, Failure> {
    use ServiceAccountsCommand as Command;
    let client = Client::needed(settings)?;
    client::block_on(async {
        match &arguments.command {
            Command::List(JsonArgs { json }) => SERVICES.list(&client, *json).await,
            Command::Show(one) => SERVICES.show(&client, one).await,
            Command::Create { name, json } => {
                SERVICES.create(&client, &NameServiceAccount { name: name.clone() }, *json).await
            }
            Command::Rename { name, to } => {
                SERVICES.change(&client, name, &NameServiceAccount { name: to.clone() }).await
            }
            Command::Disable(NameArgs { name }) => SERVICES.turn(&client, name, "disable").await,
            Command::Enable(NameArgs { name }) => SERVICES.turn(&client, name, "enable").await,
            Command::Delete(NameArgs { name }) => SERVICES.delete(&client, name).await,
        }
    })
}

/// Shows who asks, and what they may.
pub fn whoami(arguments: &WhoamiArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        let query: Vec<_> =
            arguments.project.clone().map(|project| ("project", project)).into_iter().collect();
        let me: Me = client.get("/me", &query).await?;
        if arguments.json {
            return print([to_json(&me)]);
        }
        let mut lines = vec![format!("{} at {}", safe(&me.name), client.url())];
        let until = me.expires_at.map_or_else(String::new, |at| format!(", until {}", timestamp(at)));
        let only = me.token_project.as_deref();
        let only =
            only.map_or_else(String::new, |project| format!(", for the project {} only", safe(project)));
        lines.push(format!("  token        {}{until}{only}", me.token));
        if me.superuser {
            lines.push("  superuser    may do everything, without a RoleBinding".to_owned());
        }
        lines.extend(me.roles.iter().map(|role| {
            let place = role.project.as_deref().map_or("the workspace", |project| project);
            format!(
                "  role         {} on {}, by RoleBinding/{} to {}",
                role.role,
                safe(place),
                safe(&role.binding),
                safe(&role.subject)
            )
        }));
        let may: Vec<&str> = me.capabilities.iter().map(|one| one.0.as_str()).collect();
        let place = arguments.project.as_deref().unwrap_or("the whole workspace");
        lines.push(format!("  may          {} (in {})", may.join(" "), safe(place)));
        print(lines)
    })
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A time as people read it.
fn timestamp(at: i64) -> String {
    time::timestamp(u64::try_from(at).unwrap_or_default())
}

fn state(disabled_at: Option<i64>) -> String {
    disabled_at.map_or_else(String::new, |at| format!("  disabled {}", timestamp(at)))
}

fn user_line(user: &User) -> String {
    let email = user.email.as_deref().map_or_else(String::new, |email| format!("  {}", safe(email)));
    let all = if user.superuser { "  superuser" } else { "" };
    format!("user:{:<24}{all}{email}{}", safe(&user.username), state(user.disabled_at)).trim_end().to_owned()
}

fn team_line(team: &Team) -> String {
    let size = crate::report::count(usize::try_from(team.size).unwrap_or(usize::MAX), "member");
    format!("team:{:<24}  {size}{}", safe(&team.name), state(team.disabled_at))
}

fn service_line(service: &ServiceAccount) -> String {
    format!("service:{:<24}{}", safe(&service.name), state(service.disabled_at)).trim_end().to_owned()
}
