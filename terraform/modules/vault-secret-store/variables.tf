variable "name" {
  description = "Prefix of the store: the secret db/password is NAME/db/password in the mount."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters and digits with single . _ - between, in parts joined by /."
  }

  validation {
    condition     = length(replace(replace(replace(var.name, "/", "//"), ".", "..."), "_", "____")) <= 24
    error_message = "The name has at most 24 units (a letter, digit or dash is 1, / 2, . 3, _ 4), so that every secret fits every provider."
  }
}

variable "address" {
  description = "Address of the server, such as https://vault.example.net:8200; plain HTTP on loopback alone."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(https://[^/@?#]+|http://127\\.[0-9.]+:[0-9]+)$", var.address))
    error_message = "The address is https://HOST:PORT without a path; http:// is for 127.0.0.0/8 alone."
  }
}

variable "namespace" {
  description = "Name space of Vault that everything is made in; null for the provider's own."
  type        = string
  default     = null
}

variable "secrets" {
  description = "The secrets, by Strongroom's names. One with rotate = true gets its value here once. Tags are what a secret is born with; later `strongroom tag` changes them."
  type = map(object({
    description = optional(string)
    rotate      = optional(bool, false)
    tags        = optional(map(string), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", name))])
    error_message = "A secret's name is lower-case letters and digits with single . _ - between, in parts joined by /."
  }
}

variable "values" {
  description = "Values by name. Never in state or plan; given at every plan for each name in value_versions, since Vault would take an empty one."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = length(setsubtract(keys(var.value_versions), keys(var.values))) == 0
    error_message = "A name in value_versions has no value."
  }
}

variable "value_versions" {
  description = "By name, a number of yours: a new one writes the value. A name that is not here gets no value from Terraform; one with rotate = true gets its value once."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.value_versions), keys(var.secrets))) == 0
    error_message = "value_versions names a secret that `secrets` does not have."
  }

  validation {
    condition     = alltrue([for number in values(var.value_versions) : number >= 1 && floor(number) == number])
    error_message = "A value's version is a whole number from 1: below it, the provider would keep the value in state."
  }

  validation {
    condition     = length(var.value_versions) == 0 || !var.encrypt
    error_message = "An encrypted store refuses what Terraform writes in plain: leave value_versions empty, and write by `strongroom put`."
  }
}

variable "mount" {
  description = "The KV engine of version 2: its path, whether this module makes it, and how many versions it keeps."
  type = object({
    path         = optional(string, "secret")
    create       = optional(bool, true)
    max_versions = optional(number, 10)
  })
  default  = {}
  nullable = false
}

variable "transit" {
  description = "A key of the transit engine that encrypts stores: path of the engine, whether this module makes it, and the key. Null for none."
  type = object({
    path          = optional(string, "transit")
    create        = optional(bool, true)
    key           = optional(string)
    type          = optional(string, "aes256-gcm96")
    rotation_days = optional(number, 90)
  })
  default = null

  validation {
    condition     = var.transit == null ? true : contains(["aes256-gcm96", "chacha20-poly1305"], var.transit.type)
    error_message = "A key that encrypts stores is of the type aes256-gcm96 or chacha20-poly1305: it must authenticate."
  }
}

variable "encrypt" {
  description = "Whether the store is encrypted under the transit key before a value reaches the mount."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.encrypt || var.transit != null
    error_message = "An encrypted store needs `transit`."
  }
}

variable "readers" {
  description = "AppRole roles to make that read values."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "rotators" {
  description = "AppRole roles to make that rotate: workers of `strongroom rotation`."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "administrators" {
  description = "AppRole roles to make that write, tag, delete, restore, purge and replicate."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "approle" {
  description = "The AppRole method: its path, whether this module makes it, how long tokens and secret ids live (seconds), and from where both may be used. No secret id is ever made here, since state would hold it."
  type = object({
    path          = optional(string, "approle")
    create        = optional(bool, true)
    token_ttl     = optional(number, 1200)
    token_max_ttl = optional(number, 3600)
    secret_id_ttl = optional(number, 7776000)
    bound_cidrs   = optional(list(string), [])
  })
  default  = {}
  nullable = false
}

variable "jwt" {
  description = "The JWT method: its path, whether this module makes it, and who issues the tokens. Null for none."
  type = object({
    path          = optional(string, "jwt")
    create        = optional(bool, true)
    discovery_url = optional(string)
    jwks_url      = optional(string)
    public_keys   = optional(list(string), [])
    issuer        = optional(string)
  })
  default = null

  validation {
    condition     = var.jwt == null ? true : !var.jwt.create || length(compact([var.jwt.discovery_url, var.jwt.jwks_url, join("", var.jwt.public_keys)])) == 1
    error_message = "A JWT method that is made here has one of discovery_url, jwks_url and public_keys (PEM)."
  }
}

variable "jwt_roles" {
  description = "Roles of the JWT method by name: `grants` are some of reader, rotator and administrator; at least the audience is bound, and the subject or claims."
  type = map(object({
    grants    = list(string)
    audiences = list(string)
    subject   = optional(string)
    claims    = optional(map(string), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(var.jwt_roles) == 0 || var.jwt != null
    error_message = "jwt_roles need `jwt`."
  }

  validation {
    condition     = alltrue([for role in values(var.jwt_roles) : length(role.audiences) > 0 && (role.subject != null || length(role.claims) > 0)])
    error_message = "A JWT role binds an audience, and a subject or claims: otherwise every token of that issuer has it."
  }

  validation {
    condition     = alltrue(flatten([for role in values(var.jwt_roles) : [for grant in role.grants : contains(["reader", "rotator", "administrator"], grant)]]))
    error_message = "A JWT role's grants are some of reader, rotator and administrator."
  }
}

variable "audit" {
  description = "Audit devices by path: type and options, as of Vault. OpenBao declares them in the server's own configuration, and refuses them here."
  type = map(object({
    type    = string
    options = map(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for device in values(var.audit) : lookup(device.options, "log_raw", "false") == "false"])
    error_message = "A device with log_raw writes every value in clear."
  }
}

variable "rotation" {
  description = "How workers rotate what has rotate = true, for strongroom_toml: rotator and its options, schedule, window, timezone and grace. Null for none."
  type = object({
    rotator  = string
    options  = optional(any, {})
    schedule = optional(string, "rate(30 days)")
    timezone = optional(string, "UTC")
    window   = optional(string)
    grace    = optional(string, "2h")
  })
  default = null

  validation {
    condition     = var.rotation == null || anytrue([for secret in values(var.secrets) : secret.rotate])
    error_message = "A rotation needs a secret with rotate = true."
  }
}

variable "ledger" {
  description = "Where it is recorded how far rotations have come: \"store\" in the store itself, \"elsewhere\" in a [ledger] of your own, such as PostgreSQL."
  type        = string
  default     = "store"
  nullable    = false

  validation {
    condition     = contains(["store", "elsewhere"], var.ledger)
    error_message = "The ledger is in the store, or elsewhere."
  }
}

variable "replicated" {
  description = "Whether Strongroom copies this store to others, or others to it: an administrator then keeps the order of writes."
  type        = bool
  default     = false
  nullable    = false
}

variable "auth" {
  description = "What stands under auth in strongroom_toml: credentials are references, never themselves. Null for AppRole, whose ids are in the environment as VAULT_ROLE_ID and VAULT_SECRET_ID."
  type        = map(string)
  default     = null
}

variable "tags" {
  description = "Tags of every secret, as custom metadata."
  type        = map(string)
  default     = {}
  nullable    = false
}
