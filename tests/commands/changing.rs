//! Ways to change the applied state that do not begin with files, and parts of a configuration.

use rstest::rstest;

use crate::docker::{Place, Project};
use crate::transcript::Transcript;

const PROJECT: &str = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";

fn pipeline(name: &str, template: &str) -> String {
    format!(
        "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: {name}, project: web}}\nspec:\n  jobs:\n    \
         build: {{template: {template}}}\n"
    )
}

fn template(name: &str, command: &str) -> String {
    format!(
        "apiVersion: reactorcide/v1\nkind: JobTemplate\nmetadata: {{name: {name}}}\nspec:\n  \
         job: {{image: 'debian:12', command: {command}}}\n"
    )
}

fn project() -> Project {
    Project::with_files(&[
        (".reactorcide/project.yaml", PROJECT),
        (".reactorcide/ci.yaml", &pipeline("ci", "make")),
        (".reactorcide/make.yaml", &template("make", "make")),
    ])
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn back_to_an_earlier_state_and_what_lies_between(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    session.run("diff 0..").run("apply --auto-approve --message first");
    session.write(".reactorcide/make.yaml", &template("make", "make all")).run("apply --auto-approve");
    session.write(".reactorcide/extra.yaml", &template("extra", "extra")).run("apply --auto-approve");
    session
        .run("history")
        .run("diff 1..2")
        .run("diff 1")
        .run("diff 3..1")
        .run("diff 2..2")
        .run("diff 0..1 --json");
    session.run("rollback --to 1").run("rollback --to 1 --auto-approve --message back");
    session
        .run("history")
        .run("diff 1..4")
        .run("plan --detailed-exitcode")
        .run("rollback --to 4 --auto-approve");
    session.run("rollback --to 9").run("rollback --to nothing").run("diff 7..8");
    session.compare("back_to_an_earlier_state");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_part_of_a_configuration(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    session.run("apply --auto-approve");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "other"));
    session.write(".reactorcide/other.yaml", &template("other", "other"));
    session.write(".reactorcide/make.yaml", &template("make", "changed too"));
    session.run("plan --target Pipeline/web/ci").run("apply --auto-approve --target JobTemplate/-/other");
    session.run("plan").run("plan --target Pipeline/web/nothing").run("plan --target nonsense");
    session.compare("a_part_of_a_configuration");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn names_and_deletes_without_files(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    session.run("apply --auto-approve").run("state mv JobTemplate/-/make JobTemplate/-/build");
    session.run("state mv Pipeline/web/ci Pipeline/web/checks --auto-approve").run("state list");
    session.run("rollback --to 1").run("diff 1..2");
    session.run("state mv Pipeline/web/checks Pipeline/web/../../outside --auto-approve");
    session
        .run("state mv Pipeline/web/ci Pipeline/web/checks")
        .run("state mv Pipeline/web/checks Pipeline/api/checks");
    session
        .run("state rm JobTemplate/-/make")
        .run("state rm Pipeline/web/checks --auto-approve")
        .run("state list");
    session.run("state export").run("state export --out exported").run("state export --out exported");
    session.run("validate --config exported").run("destroy").run("destroy --auto-approve").run("show");
    session.run("state export").run("destroy --auto-approve");
    session.compare("names_and_deletes_without_files");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn who_reaches_what_and_what_an_event_would_do(#[case] place: Place) {
    let project = Project::copy_of("examples/company").at(place);
    let mut session = Transcript::of(&project);
    session
        .run("reach")
        .run("apply --auto-approve")
        .run("apply --auto-approve --accept-findings")
        .run("reach")
        .run("reach --secret deploy/web --json");
    session.run("reach --secret nothing");
    session
        .write("push.json", r#"{"project": "web", "type": "push", "branch": "main"}"#)
        .run("explain push.json");
    session
        .write("next.json", r#"{"project": "web", "type": "push", "branch": "next"}"#)
        .run("explain next.json");
    session
        .write(
            "fork.json",
            r#"{"project": "web", "type": "pull_request", "branch": "main", "changed_files": ["src/a.js"]}"#,
        )
        .run("explain fork.json")
        .run("explain fork.json --json");
    session.write("tag.json", r#"{"project": "api", "type": "tag", "tag": "v1.2"}"#).run("explain tag.json");
    session
        .write(
            "infra.json",
            r#"{"project": "infra", "type": "pull_request", "branch": "main", "origin": "fork"}"#,
        )
        .run("explain infra.json");
    session
        .write("wrong.json", r#"{"project": "web", "type": "pusch"}"#)
        .run("explain wrong.json")
        .run("explain none.json");
    session.remark("what a plan would change about it");
    let policies = std::fs::read_to_string(project.path().join(".reactorcide/workspace/policies.yaml"))
        .expect("policies");
    session.write(
        ".reactorcide/workspace/policies.yaml",
        &policies.replace("branches: [main], origins: [base]", "origins: [base]"),
    );
    session
        .run("plan --out wider.rcplan")
        .run("explain next.json --plan wider.rcplan")
        .run("reach --secret deploy/web --plan wider.rcplan");
    session.compare("who_reaches_what");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_projects_own_repository(#[case] place: Place) {
    let project = project().at(place).with_named_state();
    let mut session = Transcript::of(&project);
    let policy = "apiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {name: all}\nspec: {}\n";
    let own = pipeline("own", "make")
        .replace("{name: own,", "{name: own, accept: [{finding: RX101, reason: me, until: '2099-01-01'}],");
    session.write("repository/own.yaml", &own).run("plan --project web --config repository");
    session.run("apply --auto-approve").run("apply --project web --config repository --auto-approve");
    let managed = |config: &str| PROJECT.replace("spec: {}", &format!("spec: {{config: {config}}}"));
    session.write(".reactorcide/project.yaml", &managed("{apply: never}")).run("apply --auto-approve");
    session.run("plan --project web --config repository");
    session
        .write(".reactorcide/project.yaml", &managed("{path: ci/config}"))
        .run("apply --auto-approve --accept-findings");
    session.run("apply --project web --config repository --auto-approve");
    session.write("elsewhere/ci/config/own.yaml", &own.replace("spec:\n", "spec:\n  vars: {moved: \"1\"}\n"));
    session.run("plan --project web --config elsewhere");
    session
        .run("state show Pipeline/web/own")
        .run("plan --detailed-exitcode")
        .run("plan --project web --config repository");
    session.remark("what a repository may not do");
    session.write("repository/more.yaml", policy).run("plan --project web --config repository");
    session.write("repository/more.yaml", &pipeline("x", "make").replace("project: web", "project: api"));
    session.run("plan --project web --config repository");
    session
        .write("repository/more.yaml", &pipeline("ci", "make"))
        .run("plan --project web --config repository");
    session.remark("the workspace may not pull the ground away, but it may take over");
    std::fs::remove_file(project.path().join("repository/more.yaml")).expect("the file");
    std::fs::remove_file(project.path().join(".reactorcide/make.yaml")).expect("the file");
    session.write(".reactorcide/ci.yaml", &pipeline("ci", "other"));
    session.write(".reactorcide/other.yaml", &template("other", "other")).run("plan").run("validate");
    session.write(".reactorcide/make.yaml", &template("make", "make"));
    session.write(".reactorcide/own.yaml", &pipeline("own", "make")).run("plan").run("apply --auto-approve");
    session.run("diff 4..5").run("plan --project web --config repository").run("state list");
    session.compare("a_projects_own_repository");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn old_history_is_forgotten_and_nothing_else(#[case] place: Place) {
    let project = project().at(place);
    let mut session = Transcript::of(&project);
    session.run("state compact").run("apply --auto-approve");
    for round in 2..=5 {
        let command = format!("make {round}");
        session.write(".reactorcide/make.yaml", &template("make", &command)).run("apply --auto-approve");
    }
    session.run("state compact").run("state compact --keep 2 --dry-run").run("state compact --keep 2");
    session.run("state compact --before 2020-01-01 --keep 0").run("state compact --before yesterday");
    session.run("show JobTemplate/-/make --revision 2").run("state show JobTemplate/-/make --revision 7");
    session.run("show JobTemplate/-/mkae --revision 1");
    session.run("state compact --keep 2 --auto-approve").run("show JobTemplate/-/make --revision 2");
    session.run("history").run("plan --detailed-exitcode").run("diff 4..5").run("diff 2..5");
    session.run("rollback --to 1").run("rollback --to 3 --auto-approve").run("state compact --keep 2");
    session.compare("old_history_is_forgotten");
}
