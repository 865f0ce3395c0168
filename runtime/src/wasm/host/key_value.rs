//! stub
pub struct Listing;
