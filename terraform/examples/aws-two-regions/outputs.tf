output "strongroom_toml" {
  description = "What an application adds to its strongroom.toml."
  value       = module.store.strongroom_toml
}

output "store_url" {
  description = "Strongroom's URL of the store."
  value       = module.store.store_url
}
