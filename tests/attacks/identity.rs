//! Identity tokens with a server, a worker and a real container: who is shown one can check it, and nobody gets another's.

use std::process::Command;

use crate::docker::Place;
use crate::server::harness::{BUSYBOX, Site};

#[test]
fn a_job_proves_what_it_is_to_others() {
    let mut site = Site::new(
        &format!(
            "    deploy:\n      image: '{BUSYBOX}'\n      id_tokens: {{AWS: {{audience: sts.example.com}}, FILE: {{audience: vault, as: file}}}}\n\
             \x20     artifacts: {{paths: [aws, file]}}\n\
             \x20     steps:\n\
             \x20       - {{name: none, run: 'echo \"${{AWS-unset}} ${{FILE-unset}} ${{REACTORCIDE_API_TOKEN-unset}}\"'}}\n\
             \x20       - {{name: has, run: 'echo \"shown: $AWS\"; printf %s \"$AWS\" | base64 > aws; base64 < \"$FILE\" > file', secrets: [AWS, FILE]}}\n"
        ),
        Place::Sqlite,
    );
    let server = site.server(&["--public-url", "https://ci.example.com/"]);
    let _worker = site.worker(&server, &[]);
    let run = site.start(&server, &["--branch", "main"]);
    site.until(&server, &run, "succeeded");
    let log = site.say(&server, &["jobs", "logs", &run, "deploy"]);
    assert!(log.contains("unset unset unset") && log.contains("shown: ***"), "{log}");
    let place = site.project.path().join("keys.json");
    let keys = Command::new("curl")
        .args(["-sf", &format!("{}/.well-known/jwks.json", server.url)])
        .output()
        .expect("curl");
    std::fs::write(&place, &keys.stdout).expect("a file");
    for (file, audience) in [("aws", "sts.example.com"), ("file", "vault")] {
        let encoded = site.say(&server, &["artifacts", "get", &run, "deploy", file, "-o", "-"]);
        // By another implementation, and from the keys alone.
        let checked = Command::new("python3")
            .args(["-c", CHECK, &encoded, &place.display().to_string()])
            .output()
            .expect("python3: ./dev setup");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let claims: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
        assert_eq!((&claims["aud"], &claims["iss"]), (&audience.into(), &"https://ci.example.com".into()));
        assert_eq!(claims["sub"], "project:p:pipeline:ci:job:deploy:ref:refs/heads/main");
    }
    let mode =
        std::fs::metadata(site.project.path().join(".reactorcide-state/identity-keys")).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o700);
    let audit = site.say(&server, &["audit", "list", "--json"]);
    assert_eq!(audit.matches("id_token.issue").count(), 2, "{audit}");
}

/// Checks an RS256 token by RFC 8017, 8.2.2, with nothing but whole numbers.
const CHECK: &str = r"
import base64, hashlib, json, sys
token = base64.b64decode(sys.argv[1]).decode()
pad = lambda text: base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
head, body, signature = token.split('.')
kid = json.loads(pad(head))['kid']
key = next(key for key in json.load(open(sys.argv[2]))['keys'] if key['kid'] == kid)
n, e = (int.from_bytes(pad(key[name]), 'big') for name in 'ne')
found = pow(int.from_bytes(pad(signature), 'big'), e, n).to_bytes(256, 'big')
digest = bytes.fromhex('3031300d060960864801650304020105000420') + hashlib.sha256((head + '.' + body).encode()).digest()
assert found == b'\0\1' + b'\xff' * (253 - len(digest)) + b'\0' + digest, 'the signature is wrong'
print(pad(body).decode())
";

#[test]
fn without_an_issuer_a_job_with_identity_does_not_start() {
    let ended = super::run("      id_tokens: {AWS: {audience: x}}\n      command: 'echo STARTED'\n");
    let shown = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(1), "{shown}");
    assert!(
        shown.contains("there is nobody here who issues identity tokens") && !shown.contains("STARTED"),
        "{shown}"
    );
}
