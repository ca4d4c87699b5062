output "strongroom_toml" {
  description = "Fragment of strongroom.toml."
  value       = "${join("\n\n", local.tables)}\n"
}
