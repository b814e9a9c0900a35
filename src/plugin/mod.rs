//! The adapter between proxy-wasm and the driver; the only place that knows the host.
//!
//! A root context, one per worker thread and configuration, owns the driver. Only it dispatches
//! calls, because the host drops the response to a call of a stream that has ended. Streams share
//! the filter with it, and wake it with a timer when there is work.

mod abi;
mod crypto;
mod filter;
mod headers;
mod host;
mod logger;
mod proxy;
mod root;
mod stats;
mod stream;
mod withheld;

// The macro exports the module's entry point, which Rust counts as unsafe.
#[allow(unsafe_code, missing_docs, reason = "the expansion of the SDK's entry point macro")]
mod entry {
    use super::logger;
    use super::root::Root;

    proxy_wasm::main! {{
        logger::install();
        proxy_wasm::set_root_context(|_| Box::new(Root::default()));
    }}
}
