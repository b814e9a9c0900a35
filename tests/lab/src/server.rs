//! A loopback HTTP/1.1 server: one thread per connection, one handler for every request.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::http::{Message, Role};
use crate::resources::loopback;

pub struct Server {
    pub address: SocketAddr,
    stopped: Arc<AtomicBool>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves until dropped. An error of the handler closes its connection, no more: Envoy hanging
    /// up on a slow answer is part of what is tested.
    pub fn start<H>(handler: H) -> Self
    where
        H: Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start_at(loopback(0), handler)
    }

    /// The same at this address.
    pub fn start_at<H>(address: SocketAddr, handler: H) -> Self
    where
        H: Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).expect("a free loopback port");
        let address = listener.local_addr().expect("the port just bound");
        let stopped = Arc::new(AtomicBool::new(false));
        let handler = Arc::new(handler);
        let acceptor = thread::spawn({
            let stopped = Arc::clone(&stopped);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let handler = Arc::clone(&handler);
                    thread::spawn(move || serve(stream, handler.as_ref()));
                }
            }
        });
        Self { address, stopped, acceptor: Some(acceptor) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The acceptor sees the flag only when somebody knocks.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("the acceptor does not panic");
        }
    }
}

fn serve(
    mut stream: TcpStream,
    handler: &impl Fn(&Message, &mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    // An answer is written in pieces: none of them waits for the client to acknowledge another.
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Message::read(&mut reader, Role::Request)? {
        handler(&request, &mut stream)?;
    }
    Ok(())
}
