output "password" {
  description = "Where the application finds its password: a reference, no value."
  value       = strongroom_secret.password.id
}
