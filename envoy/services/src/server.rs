use std::env;
use std::io::{Error, ErrorKind, Result};

use axum::Router;
use tokio::net::TcpListener;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};

/// Serves `router` on `HOST` and `PORT` until SIGTERM or SIGINT, then lets running requests end.
pub async fn serve(service: &str, default_port: u16, router: Router) -> Result<()> {
    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = match env::var("PORT") {
        Ok(port) => port.parse().map_err(|_| {
            Error::new(ErrorKind::InvalidInput, format!("PORT is not a port number: {port:?}"))
        })?,
        Err(_) => default_port,
    };
    let listener = TcpListener::bind((host.as_str(), port)).await.map_err(|error| {
        Error::new(error.kind(), format!("cannot listen on {host}:{port} (HOST, PORT): {error}"))
    })?;
    // Set up before the address is announced: whoever reads it may already send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!("{service} listens on {}", listener.local_addr()?);

    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
        })
        .await
}
