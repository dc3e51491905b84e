//! The commands: one file each. A new one is a module, a variant and an arm here.

mod accounts;
mod apply;
mod approve;
mod artifacts;
mod audit;
mod caches;
mod drift;
mod editor;
mod explain;
mod fmt;
mod graph;
mod history;
mod import;
mod init;
mod jobs;
mod login;
mod plan;
mod queue;
mod reach;
mod rollback;
mod run;
pub mod runs;
mod schedules;
mod schema;
mod secret;
mod secret_key;
mod server;
mod state;
mod tokens;
mod validate;
mod worker;
mod workers;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented configuration to start from
    Init(init::InitArgs),
    /// Check the configuration and report every error at once
    Validate(validate::ValidateArgs),
    /// Give the files of the configuration their usual look
    Fmt(fmt::FmtArgs),
    /// Show what an apply would change, and what follows from it
    Plan(plan::PlanArgs),
    /// Make the applied state what the configuration says
    Apply(apply::ApplyArgs),
    /// Delete everything that is applied and not protected
    Destroy(crate::commit::CommitArgs),
    /// Make ours what others made elsewhere, or what another configuration owns
    Import(import::ImportArgs),
    /// Make the applied state what it was after an earlier change
    Rollback(rollback::RollbackArgs),
    /// Run a pipeline's jobs in containers on this machine
    Run(Box<run::RunArgs>),
    /// Run the one job of a file in a container on this machine
    RunJob(Box<run::RunJobArgs>),
    /// Serve the API, and decide on runs
    Server(Box<server::ServerArgs>),
    /// Take jobs from a server and run them here
    Worker(worker::WorkerArgs),
    /// Remember a server and a token for it
    Login(login::LoginArgs),
    /// Forget the server
    Logout,
    /// List runs, tell every decision on one, start, follow, cancel and repeat them
    Runs(runs::RunsArgs),
    /// Let a run begin that waits for an approval, or a job of it deploy
    Approve(approve::ApproveArgs),
    /// Look at the jobs of a run, read what they print, stop them
    Jobs(jobs::JobsArgs),
    /// List and fetch the files that jobs have kept
    Artifacts(artifacts::ArtifactsArgs),
    /// List and delete what jobs have kept for later runs
    Caches(caches::CachesArgs),
    /// Show what waits, and why
    Queue(queue::QueueArgs),
    /// Show what the server starts by the clock, and when
    Schedules(schedules::SchedulesArgs),
    /// Look at workers and direct them
    Workers(workers::WorkersArgs),
    /// Make, list and revoke tokens
    Tokens(tokens::TokensArgs),
    /// Who there is on a server: list, add, change, disable and delete users
    Users(accounts::UsersArgs),
    /// Teams of a server: users who have roles together
    Teams(accounts::TeamsArgs),
    /// Service accounts of a server: programs with a name of their own
    ServiceAccounts(accounts::ServiceAccountsArgs),
    /// Show who asks the server, and what they may
    Whoami(accounts::WhoamiArgs),
    /// Read, verify and export the log of who did what
    Audit(audit::AuditArgs),
    /// Show what is applied: an overview, one resource, or a saved plan
    Show(state::ShowArgs),
    /// Look into the applied state
    State(state::StateArgs),
    /// List every apply, newest first
    History(history::HistoryArgs),
    /// Show what changed between two applies
    Diff(rollback::DiffArgs),
    /// Show what others did to the objects elsewhere that were applied
    Drift(drift::DriftArgs),
    /// Give secrets their values, and say who would get them
    Secret(secret::SecretArgs),
    /// The keys that values of secrets are sealed with
    SecretKey(secret_key::SecretKeyArgs),
    /// Show who can read which secret, and through which grant
    Reach(reach::ReachArgs),
    /// Explain what an event would start, with which secrets, and why not more
    Explain(explain::ExplainArgs),
    /// Draw the references between resources, or the jobs of a pipeline
    Graph(graph::GraphArgs),
    /// Print the JSON Schemas of the configuration language
    Schema(schema::SchemaArgs),
}

/// Runs a command.
pub fn run(command: Command, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Command::Init(arguments) => init::init(&arguments),
        Command::Validate(arguments) => validate::validate(&arguments, settings),
        Command::Fmt(arguments) => fmt::fmt(&arguments, settings),
        Command::Plan(arguments) => plan::plan(&arguments, settings),
        Command::Apply(arguments) => apply::apply(&arguments, settings),
        Command::Destroy(arguments) => apply::destroy(&arguments, settings),
        Command::Rollback(arguments) => rollback::rollback(&arguments, settings),
        Command::Import(arguments) => import::import(&arguments, settings),
        Command::Drift(arguments) => drift::drift(&arguments, settings),
        Command::Diff(arguments) => rollback::diff(&arguments, settings),
        Command::Secret(arguments) => secret::secret(&arguments, settings),
        Command::SecretKey(arguments) => secret_key::secret_key(&arguments, settings),
        Command::Reach(arguments) => reach::show(&arguments, settings),
        Command::Explain(arguments) => explain::show(&arguments, settings),
        Command::Run(arguments) => run::run(&arguments, settings),
        Command::RunJob(arguments) => run::run_job(&arguments, settings),
        Command::Server(arguments) => server::server(&arguments, settings),
        Command::Worker(arguments) => worker::worker(&arguments, settings),
        Command::Login(arguments) => login::login(&arguments),
        Command::Logout => login::logout(),
        Command::Runs(arguments) => runs::runs(&arguments, settings),
        Command::Approve(arguments) => approve::approve(&arguments, settings),
        Command::Artifacts(arguments) => artifacts::artifacts(&arguments, settings),
        Command::Caches(arguments) => caches::caches(&arguments, settings),
        Command::Jobs(arguments) => jobs::jobs(&arguments, settings),
        Command::Queue(arguments) => queue::queue(&arguments, settings),
        Command::Schedules(arguments) => schedules::schedules(&arguments, settings),
        Command::Workers(arguments) => workers::workers(&arguments, settings),
        Command::Tokens(arguments) => tokens::tokens(&arguments, settings),
        Command::Users(arguments) => accounts::users(&arguments, settings),
        Command::Teams(arguments) => accounts::teams(&arguments, settings),
        Command::ServiceAccounts(arguments) => accounts::service_accounts(&arguments, settings),
        Command::Whoami(arguments) => accounts::whoami(&arguments, settings),
        Command::Audit(arguments) => audit::audit(&arguments, settings),
        Command::Show(arguments) => state::show(&arguments, settings),
        Command::State(arguments) => state::state(&arguments, settings),
        Command::History(arguments) => history::history(&arguments, settings),
        Command::Graph(arguments) => graph::graph(&arguments, settings),
        Command::Schema(arguments) => schema::schema(&arguments),
    }
}
