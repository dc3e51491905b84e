//! What a person sees.

use rstest::rstest;
use serde_json::json;

use super::{TOKEN, Target, targets, value};
use crate::docker::{Place, Project};
use crate::transcript::Transcript;

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn objects_elsewhere_are_made_healed_adopted_and_forgotten(#[case] place: Place) {
    let target = Target::start();
    let url = format!("{}/hooks", target.url());
    let project = Project::empty().at(place).with_variable("HOOKS_TOKEN", TOKEN);
    let mut session = Transcript::of(&project);
    let one = |number| targets(&url, &[("deploys", value(number), "")]);
    session.write(".reactorcide/hooks.yaml", &one(1)).run("plan").run("apply --auto-approve").run("apply");
    session.run("drift").run("plan --detailed-exitcode").run("state show WebhookTarget/deploys");

    let (path, _) = target.only();
    target.tamper(&path, Some(json!({"value": 9, "id": "x", "colour": "red"})));
    session.remark("somebody changes the object there");
    session.run("drift --detailed-exitcode").run("drift --json").run("plan --no-refresh").run("plan");
    session.run("plan --out heal.rcplan --markdown heal.md").run("apply heal.rcplan").run("drift");
    target.tamper(&path, None);
    session.remark("somebody deletes the object there");
    session.run("drift").run("apply --auto-approve");

    session.remark("what cannot be done is said, and done once it can be");
    session.write(".reactorcide/hooks.yaml", &targets(&url, &[("deploys", json!({"wrong": 1}), "")]));
    session.run("apply --auto-approve").run("drift").run("plan --detailed-exitcode");
    session.write(".reactorcide/hooks.yaml", &one(2)).run("apply --auto-approve");
    target.rule(json!({"method": "GET", "number": 1, "action": "fail", "always": true}));
    session.remark("the other system is out of order");
    session.run("drift").run("plan");
    target.rule(json!(null));

    session.remark("somebody made an object there by hand");
    target.tamper("/hooks/by-hand", Some(json!({"value": 2, "note": "mine"})));
    let two = targets(&url, &[("deploys", value(2), ""), ("more", value(3), "")]);
    session.write(".reactorcide/hooks.yaml", &two);
    session.run("import WebhookTarget/more").run("import WebhookTarget/more --id nothing");
    session.run("import WebhookTarget/mroe --id by-hand");
    session.run("import WebhookTarget/more --id by-hand --auto-approve");
    session.run("import WebhookTarget/more --id by-hand --auto-approve").run("plan --detailed-exitcode");
    session.run("state mv WebhookTarget/more WebhookTarget/hand --auto-approve");
    session.run("state rm WebhookTarget/hand --auto-approve");
    session.write(".reactorcide/hooks.yaml", &one(2)).run("plan").run("history");
    session.run("rollback --to 1 --auto-approve");
    target.rule(json!({"method": "DELETE", "number": 1, "action": "fail", "always": true}));
    session.remark("what is deleted cannot be deleted there; the secret that opens it goes with it");
    session.run("destroy --auto-approve");
    target.rule(json!(null));
    session.run("destroy --auto-approve").run("drift");
    let (_, objects) = target.log();
    assert_eq!(objects, json!({"/hooks/by-hand": {"value": 3, "id": "by-hand"}}), "what was forgotten stays");
    let shown = session.compare("objects_elsewhere");
    assert!(!shown.contains(TOKEN), "the token is shown");
    // In no file either: not in the state, its journal, or a plan.
    let found =
        std::process::Command::new("grep").args(["-rlF", TOKEN]).arg(project.path()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the token is in files");
    for file in ["heal.rcplan", "heal.md"] {
        let text = std::fs::read_to_string(project.path().join(file)).expect("it was written");
        assert!(text.contains("Heal") || text.contains("heal") || text.contains("restore"), "{text}");
        assert!(!text.contains(TOKEN), "the token is in {file}");
    }
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn without_what_opens_the_door_nothing_is_lost(#[case] place: Place) {
    let target = Target::start();
    let project = Project::empty().at(place);
    let mut session = Transcript::of(&project);
    let url = target.url();
    session.write(".reactorcide/hooks.yaml", &targets(&url, &[("hook", value(1), "")]));
    session.run("apply --auto-approve").run("apply --auto-approve --secret hooks/token=file:nothing");
    project.write("token", TOKEN);
    session.run("apply --auto-approve --secret hooks/token=file:token").run("drift").run("plan");
    session.run("drift --secret hooks/token=file:token");
    session.remark("the secret is declared no more by the time that what it opens is deleted");
    session.write(
        ".reactorcide/hooks.yaml",
        &targets(&url, &[("hook", value(1), "")]).replace("HOOKS_TOKEN", "PWD"),
    );
    session.run("apply --auto-approve --no-refresh");
    target.rule(json!({"method": "DELETE", "number": 1, "action": "fail", "always": true}));
    session
        .run("destroy --auto-approve --secret hooks/token=file:token")
        .run("drift")
        .run("destroy --auto-approve");
    target.rule(json!(null));
    session.run("destroy --auto-approve --secret hooks/token=file:token").run("destroy --auto-approve");
    session.compare("without_a_token");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_pipeline_goes_from_hand_to_hand(#[case] place: Place) {
    let pipeline = "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  jobs:\n    \
                    build: {image: 'debian:12', command: make}\n";
    let project = Project::with_files(&[
        (
            ".reactorcide/web.yaml",
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {config: {}}\n",
        ),
        (".reactorcide/ci.yaml", pipeline),
        ("repository/ci.yaml", pipeline),
    ]);
    let project = project.at(place).with_named_state();
    let mut session = Transcript::of(&project);
    session.run("apply --auto-approve").run("apply --project web --config repository --auto-approve");
    session.run("import Pipeline/web/ci --project web --config repository --auto-approve");
    session.remark("the file here would take it back");
    session
        .run("plan")
        .run("import Pipeline/web/ci")
        .run("import Project/web")
        .run("import Pipeline/web/ci --id 3");
    std::fs::remove_file(project.path().join(".reactorcide/ci.yaml")).expect("the file");
    session.remark(".reactorcide/ci.yaml is removed").run("plan --detailed-exitcode");
    session.run("import Pipeline/web/ci").run("history Pipeline/web/ci");
    session.compare("from_hand_to_hand");
}
