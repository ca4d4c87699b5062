output "rotated_at" {
  description = "When the key became current."
  value       = strongroom_rotation.session.last_rotated_at
}

output "next_due_at" {
  description = "When the schedule wants the next one."
  value       = strongroom_rotation.session.next_due_at
}
