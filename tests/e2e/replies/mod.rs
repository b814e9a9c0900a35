//! What the filter's own replies tell, and to whom: the field `replies`.

mod browser;
mod cors;
mod detail;
