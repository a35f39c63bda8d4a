//! The HTTP limit: one axum route that answers a fixed body, served by `axum::serve` as it comes, but
//! without Nagle's algorithm, as the server does (it holds the end of a large answer back).
//!
//! It runs in a process of its own, as the server does, and gets the same requests from the same
//! generator; so the quotient of the two says what Onsale adds to HTTP itself.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, on};
use axum::serve::ListenerExt;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One route and its answer, as the process reads it from its standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fixed {
    /// GET, POST, …
    pub method: String,
    /// Without a query.
    pub path: String,
    /// The status that the compared route answers.
    pub status: u16,
    /// The body that the compared route answers.
    pub body: String,
}

/// The whole life of the process: reads a [`Fixed`], serves it, says where in one line.
pub fn process() -> anyhow::Result<()> {
    let fixed: Fixed = serde_json::from_str(&std::io::read_to_string(std::io::stdin())?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // It can fail only if the peer has gone already.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router(fixed)?).await?)
    })
}

fn router(fixed: Fixed) -> anyhow::Result<Router> {
    let method = MethodFilter::try_from(Method::from_bytes(fixed.method.as_bytes())?)?;
    let status = StatusCode::from_u16(fixed.status).context("a status")?;
    let body = Bytes::from(fixed.body);
    let answer = move || {
        let body = body.clone();
        async move { (status, [(CONTENT_TYPE, "application/json")], body) }
    };
    Ok(Router::new().route(&fixed.path, on(method, answer)))
}
