output "reader_policy" {
  description = "Data actions of who reads values."
  value       = local.data_actions.reader
}

output "rotator_policy" {
  description = "Data actions of who rotates: the function, or a worker."
  value       = local.data_actions.rotator
}

output "administrator_policy" {
  description = "Data actions of who writes, tags, deletes, restores and purges."
  value       = local.data_actions.administrator
}
