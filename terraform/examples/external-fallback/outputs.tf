output "version" {
  description = "Version of the secret that stands in the state now."
  value       = data.external.license.result.version
}
