output "grants" {
  description = "Custom roles to make and bind on the project: by name, whose each is (reader, rotator, administrator), its permissions, and its condition, \"\" for none."
  value       = local.grants
}
