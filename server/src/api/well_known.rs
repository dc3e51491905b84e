//! Where whoever is shown an identity token finds the keys to check it: OpenID Connect Discovery 1.0, without a token.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::{Api, Problem, Route};

/// How long others may keep what they read, in seconds. A key is told for a day before it signs.
const KEPT: &str = "public, max-age=600";

/// The routes of the issuer.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/.well-known/openid-configuration", discovery)
            .named("getDiscovery", "identity", "Who issues identity tokens, and where the keys are")
            .answers_raw("application/json")
            .problems(&[404]),
        Route::get("/.well-known/jwks.json", keys)
            .named("getKeys", "identity", "The keys by which identity tokens are checked")
            .answers_raw("application/json")
            .problems(&[404]),
    ]
}

fn none() -> Problem {
    Problem::not_found("this server issues no identity tokens").hint("start it with --public-url")
}

async fn discovery(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let said = api.issuer.discovery().ok_or_else(none)?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Answer(said)))
}

async fn keys(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let keys = api.issuer.key_set().await?.ok_or_else(none)?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Answer(keys)))
}
