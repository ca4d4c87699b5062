output "reader_policy" {
  description = "Policy document of who reads values, in every region."
  value       = jsonencode({ Version = "2012-10-17", Statement = local.reader })
}

output "rotator_policy" {
  description = "Policy document of who rotates: the function, or a worker."
  value       = jsonencode({ Version = "2012-10-17", Statement = local.rotator })
}

output "administrator_policy" {
  description = "Policy document of who writes, tags, deletes, restores, purges and replicates."
  value       = jsonencode({ Version = "2012-10-17", Statement = local.administrator })
}
