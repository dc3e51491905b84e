//! One route: where it is, who may use it, what goes in and comes out. The server's router, its OpenAPI document and the
//! matrix of who may do what are all made from these.

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use reactorcide_engine::identity::Capability;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::Api;

/// Makes a schema.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A route with what it does.
pub struct Route {
    /// What is known of it.
    pub operation: Operation,
    /// What it does.
    pub handler: MethodRouter<Api>,
}

/// What is known of a route.
#[derive(Clone)]
pub struct Operation {
    /// Its name in the OpenAPI document.
    pub id: &'static str,
    /// The method.
    pub method: Method,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What it is about.
    pub tag: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What may stand in the query.
    pub query: Option<SchemaOf>,
    /// What the body is.
    pub body: Option<Body>,
    /// What comes back when all is well.
    pub answer: (u16, Content),
    /// Statuses of problems that it may answer with, beside those that every route has.
    pub problems: &'static [u16],
    /// Whether it takes an `Idempotency-Key`.
    pub idempotent: bool,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever shows a token that works.
    Known,
    /// Whoever has a capability, where the route says.
    Capability(Capability),
}

/// What the body of a request is.
#[derive(Clone, Copy)]
pub enum Body {
    /// JSON.
    Json(SchemaOf),
    /// JSON, or nothing.
    MaybeJson(SchemaOf),
    /// Bytes.
    Bytes,
}

/// What comes back.
#[derive(Clone, Copy)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// JSON.
    Json(SchemaOf),
    /// Something of another type.
    Raw(&'static str),
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Route {
    fn new<H, T>(method: Method, filter: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let operation = Operation {
            id: "",
            method,
            path,
            summary: "",
            tag: "",
            access: Access::Public,
            query: None,
            body: None,
            answer: (204, Content::Nothing),
            problems: &[],
            idempotent: false,
        };
        Self { operation, handler: on(filter, handler) }
    }

    /// A route that reads.
    pub fn get<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::GET, MethodFilter::GET, path, handler)
    }

    /// A route that makes or does something.
    pub fn post<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::POST, MethodFilter::POST, path, handler)
    }

    /// A route that replaces something.
    pub fn put<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::PUT, MethodFilter::PUT, path, handler)
    }

    /// A route that changes something in part.
    pub fn patch<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::PATCH, MethodFilter::PATCH, path, handler)
    }

    /// A route that removes something.
    pub fn delete<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    /// Its name, its group, and what it does.
    pub fn named(mut self, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let operation = &mut self.operation;
        (operation.id, operation.tag, operation.summary) = (id, tag, summary);
        self
    }

    /// Only for who has this.
    pub fn needs(mut self, capability: Capability) -> Self {
        self.operation.access = Access::Capability(capability);
        self
    }

    /// Only for who is known, whatever they may.
    pub fn needs_token(mut self) -> Self {
        self.operation.access = Access::Known;
        self
    }

    /// What may stand in the query.
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.operation.query = Some(schema_of::<T>);
        self
    }

    /// The body is JSON.
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.operation.body = Some(Body::Json(schema_of::<T>));
        self
    }

    /// The body is JSON, or there is none.
    pub fn maybe_body<T: JsonSchema>(mut self) -> Self {
        self.operation.body = Some(Body::MaybeJson(schema_of::<T>));
        self
    }

    /// The body is bytes.
    pub fn bytes(mut self) -> Self {
        self.operation.body = Some(Body::Bytes);
        self
    }

    /// What comes back is JSON.
    pub fn answers<T: JsonSchema>(mut self, status: u16) -> Self {
        self.operation.answer = (status, Content::Json(schema_of::<T>));
        self
    }

    /// What comes back is of another type.
    pub fn answers_raw(mut self, media_type: &'static str) -> Self {
        self.operation.answer = (200, Content::Raw(media_type));
        self
    }

    /// It may answer with these problems too.
    pub fn problems(mut self, statuses: &'static [u16]) -> Self {
        self.operation.problems = statuses;
        self
    }

    /// Its body may be longer than that of others.
    pub fn body_up_to(mut self, bytes: usize) -> Self {
        self.handler = self.handler.layer(DefaultBodyLimit::max(bytes));
        self
    }

    /// It takes an `Idempotency-Key`.
    pub fn idempotent(mut self) -> Self {
        self.operation.idempotent = true;
        self
    }
}
