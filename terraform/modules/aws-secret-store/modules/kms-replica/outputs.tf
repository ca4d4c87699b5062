output "key_arn" {
  description = "ARN of the replica in the region of this module's provider."
  value       = aws_kms_replica_key.this.arn
}
