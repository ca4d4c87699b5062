/* NSS softokn as an ordinary PKCS#11 module: python-pkcs11 calls C_Initialize(NULL), but softokn must be told
   where its database is, in CK_C_INITIALIZE_ARGS.pReserved. */
#include <dlfcn.h>

typedef unsigned long CK_RV;
typedef CK_RV (*function)(void *);
struct list { unsigned char version[2]; function f[68]; };
struct arguments { void *mutexes[4]; unsigned long flags; const char *reserved; };

static struct list shim;
static function original;

static CK_RV initialize(void *ignored) {
    struct arguments arguments = {{0}, 2 /* CKF_OS_LOCKING_OK */, RESERVED};
    return ignored ? 7 /* CKR_ARGUMENTS_BAD */ : original(&arguments);
}

CK_RV C_GetFunctionList(struct list **out) {
    struct list *real;
    void *module = dlopen(REAL, RTLD_NOW);
    if (!module || ((function)dlsym(module, "C_GetFunctionList"))(&real)) return 5 /* CKR_GENERAL_ERROR */;
    shim = *real, original = real->f[0], shim.f[0] = initialize, *out = &shim;
    return 0;
}
